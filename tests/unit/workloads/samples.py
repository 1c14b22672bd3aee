"""The example manifests of other projects, and what they are to become."""

import io
import tarfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

Json = dict[str, Any]

FOLDER = Path(__file__).parent / "samples"


@cache
def samples() -> Mapping[str, tuple[Json, ...]]:
    """The objects of every sample, by the name of its file."""
    found = {}
    with tarfile.open(FOLDER / "samples.tar.gz") as archive:
        for member in archive:
            content = archive.extractfile(member)
            assert content is not None
            documents = yaml.safe_load_all(io.TextIOWrapper(content, encoding="utf-8"))
            found[member.name] = tuple(document for document in documents if document)
    return found


@cache
def expected() -> Mapping[str, Json]:
    """What is to come of them."""
    loaded: Mapping[str, Json] = yaml.safe_load((FOLDER / "expected.yaml").read_text(encoding="utf-8"))
    return loaded


def runtimes() -> tuple[Json, ...]:
    """The training runtimes that Trainer ships, which TrainJobs name."""
    return tuple(value for name, values in samples().items() if name.startswith("runtimes/") for value in values)


def parsed(manifest: str) -> Json | None:
    """A manifest inside a manifest."""
    try:
        found: Json = yaml.safe_load(manifest)
    except yaml.YAMLError:
        return None
    return found


def find(objects: tuple[Json, ...]) -> Any:
    """A lookup among these objects, whatever their namespace."""

    def lookup(group: str, kind: str, namespace: str, name: str) -> Json | None:
        for value in objects:
            own = (value.get("apiVersion", "").rpartition("/")[0], value.get("kind"), value["metadata"].get("name"))
            if own == (group, kind, name):
                return value
        return None

    return lookup
