"""Bytes to objects and back: JSON by msgspec, YAML by PyYAML, times as Kubernetes writes them.

Objects are plain dictionaries while they are worked on and bytes at rest. YAML is read as Kubernetes reads it: dates
stay text. Protobuf has a module of its own.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from functools import cache
from typing import Any

import msgspec

from quartermaster.local.apiserver.errors import Json, bad_request

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()

encode = _encoder.encode


def decode(raw: bytes) -> Any:
    """JSON to dictionaries; raises ApiError 400."""
    try:
        return _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
        raise bad_request(f"couldn't get version/kind; json parse error: {wrong}") from None
    except RecursionError:
        raise bad_request("json parse error: exceeded max depth") from None


def load(raw: bytes) -> Json:
    """Our own bytes to an object: cannot fail."""
    found: Json = _decoder.decode(raw)
    return found


def decode_yaml(raw: bytes) -> Any:
    """YAML (or JSON) to dictionaries; raises ApiError 400."""
    import yaml  # noqa: PLC0415  # most requests are JSON

    try:
        return _plain(yaml.load(raw, Loader=_yaml_loader()), 0)  # noqa: S506  # a safe loader, less dates
    except (yaml.YAMLError, ValueError, RecursionError, UnicodeDecodeError) as wrong:
        raise bad_request(f"error converting YAML to JSON: {wrong}") from None


def encode_yaml(value: Any) -> bytes:
    """As the real server writes it: keys in order, one line per text, double quotes where quotes are needed."""
    import yaml  # noqa: PLC0415

    text: str = yaml.dump(value, Dumper=_yaml_dumper(), width=math.inf, allow_unicode=True)
    return text.encode()


def _plain(value: Any, depth: int) -> Any:
    """What JSON can say of it: keys become strings; binary, sets and endless numbers are refused."""
    if depth > 200:  # also ends anchors that contain themselves
        raise ValueError("yaml: exceeded max depth")
    if isinstance(value, dict):
        return {_key(key): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("yaml: number out of range")
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise ValueError(f"yaml: {type(value).__name__} has no JSON form")


def _key(key: Any) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    return key if isinstance(key, str) else str(key)


@cache
def _yaml_dumper() -> Any:
    import yaml  # noqa: PLC0415

    class Dumper(yaml.SafeDumper):
        """Quotes what would be read as something else, shares nothing."""

        def ignore_aliases(self, data: Any) -> bool:
            del data
            return True

    def text(dumper: Any, value: str) -> Any:
        plain = dumper.resolve(yaml.ScalarNode, value, (True, False)) == "tag:yaml.org,2002:str"
        style = "|" if "\n" in value else None if plain else '"'
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    return Dumper


@cache
def _yaml_loader() -> Any:
    import yaml  # noqa: PLC0415

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc]
        """Safe, and leaves dates alone."""

    Loader.yaml_implicit_resolvers = {
        first: [(tag, expression) for tag, expression in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in base.yaml_implicit_resolvers.items()
    }
    return Loader


def timestamp(seconds: float) -> str:
    """RFC 3339 to the second, as metav1.Time. `seconds` since 1970."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_timestamp(seconds: float) -> str:
    """RFC 3339 to the microsecond, as metav1.MicroTime."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def seconds_of(text: object) -> float | None:
    """Seconds since 1970 of an RFC 3339 time; None if it is none."""
    if not isinstance(text, str) or len(text) < 20:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.timestamp() if moment.tzinfo else None
