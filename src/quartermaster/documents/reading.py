"""YAML and JSON as typed documents, with every mistake told by file and field."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from quartermaster.documents.quantities import Bytes, Millicores, Seconds
from quartermaster.model.errors import InvalidInput

T = TypeVar("T")


class _Loader(yaml.SafeLoader):
    """YAML as usual, but a key given twice is a mistake, not the later one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002
        """The mapping of a node; raises `YAMLError` for a key that is there already."""
        seen = set()
        for key, _ in node.value:
            name = self.construct_object(key, deep=True)
            if not isinstance(name, Hashable):
                break  # PyYAML refuses it.
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key '{name}' is given twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep=deep)


def content(path: Path) -> bytes:
    """What is in a file, unpacked if its name ends in ``.gz``; raises `InvalidInput` if it cannot be read."""
    try:
        text = path.read_bytes()
        return gzip.decompress(text) if path.suffix == ".gz" else text
    except (OSError, EOFError, zlib.error) as wrong:
        raise InvalidInput(str(path), f"cannot be read ({wrong})", "check the file and its permissions") from None


def yaml_documents(text: bytes, *, file: str) -> list[object]:
    """The YAML documents of a file, empty ones left out; raises `InvalidInput` with the line."""
    try:
        documents = [document for document in yaml.load_all(text, Loader=_Loader) if document is not None]
    except yaml.MarkedYAMLError as wrong:
        mark = wrong.problem_mark
        line = "" if mark is None else f":{mark.line + 1}"
        raise InvalidInput(f"{file}{line}", wrong.problem or "is not YAML", "correct the YAML") from None
    except (yaml.YAMLError, UnicodeDecodeError) as wrong:
        raise InvalidInput(file, f"is not YAML ({wrong})", "give UTF-8 text in YAML") from None
    for document in documents:
        _refuse_cycles(document, file=file)
    return documents


def _refuse_cycles(document: object, *, file: str) -> None:
    """An alias (``*name``) inside what it stands for would be a group that is its own sub-group."""
    above: set[int] = set()

    def look(part: object, path: str) -> None:
        inside: Iterable[tuple[object, object]] = ()
        if isinstance(part, dict):
            inside = part.items()
        elif isinstance(part, list):
            inside = enumerate(part)
        if id(part) in above:
            raise InvalidInput(f"{file}: {path}", "contains itself", "write out what the alias (*) stands for")
        above.add(id(part))
        for key, value in inside:
            if isinstance(value, dict | list):
                look(value, f"{path}[{key}]" if isinstance(part, list) else f"{path}.{key}".lstrip("."))
        above.discard(id(part))

    if isinstance(document, dict | list):
        look(document, "")


def json_document(text: bytes, *, file: str) -> object:
    """The JSON document of a file; raises `InvalidInput` with the place in it."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
        raise InvalidInput(file, f"is not JSON ({wrong})", "give UTF-8 text in JSON") from None


def convert(document: object, kind: type[T], *, where: str, reference: str) -> T:
    """A document as a value of `kind`; raises `InvalidInput` with the path of the field. `reference` describes it."""
    try:
        return msgspec.convert(document, kind, dec_hook=_quantity)
    except msgspec.ValidationError as wrong:
        problem, _, path = str(wrong).partition(" - at `$")
        field = path.rstrip("`").lstrip(".") or "the document"
        raise InvalidInput(f"{where}: {field}", problem, f"see {reference} for the format") from None


def _quantity(kind: type, value: object) -> Any:
    if issubclass(kind, Seconds | Bytes | Millicores):
        return kind.read(value)
    raise NotImplementedError(kind)
