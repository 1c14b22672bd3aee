"""The data made from the published Kubernetes sources: see data/README.md and scripts/kubernetes_data.py."""

from __future__ import annotations

import lzma
from functools import cache
from importlib import resources
from typing import Any

from quartermaster.local.apiserver.codec import load


def shipped(name: str) -> Any:
    """The decoded content of data/NAME.json.xz. Nothing is kept: callers keep what they make of it."""
    path = resources.files("quartermaster.local.apiserver") / "data" / f"{name}.json.xz"
    return load(lzma.decompress(path.read_bytes()))


@cache
def kubernetes_version() -> str:
    """The release that the data was made from, such as ``1.36.3``."""
    version: str = shipped("schemas")["version"]
    return version
