"""Bytes to objects and back: JSON by msgspec, YAML by PyYAML, times as Kubernetes writes them.

Objects are plain dictionaries while they are worked on and bytes at rest. YAML is read as Kubernetes reads it: dates
stay text. Protobuf has a module of its own.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from functools import cache
from typing import Any

import msgspec

from quartermaster.local.apiserver.errors import ApiError, Json, bad_request

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()

encode = _encoder.encode


def decode(raw: bytes) -> Any:
    """JSON to dictionaries; raises ApiError 400."""
    try:
        return _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Malformed(syntax_problem(raw)) from None
    except RecursionError:
        raise Malformed("exceeded max depth") from None


class Malformed(ApiError):
    """400 for bytes that are no JSON; `why` is what Go's decoder says of them."""

    def __init__(self, why: str) -> None:
        super().__init__(400, "BadRequest", f"couldn't get version/kind; json parse error: {why}")
        self.why = why


_PLACES = {
    "Expecting value": "looking for beginning of value",
    "Expecting property name enclosed in double quotes": "looking for beginning of object key string",
    "Illegal trailing comma before end of object": "looking for beginning of object key string",
    "Illegal trailing comma before end of array": "looking for beginning of value",
    "Expecting ':' delimiter": "after object key",
    "Extra data": "after top-level value",
    "Invalid control character at": "in string literal",
    "Invalid \\escape": "in string escape code",
    "Invalid \\uXXXX escape": "in \\u hexadecimal character escape",
}
"""What Python's decoder says of a place, and what Go's does."""


def syntax_problem(raw: bytes) -> str:
    """What is wrong with JSON, in the words of Go's decoder."""
    text = raw.decode(errors="replace")
    try:
        json.loads(text)
    except json.JSONDecodeError as wrong:
        at = wrong.pos
        while at < len(text) and text[at] in " \t\r\n":
            at += 1
        if at >= len(text) or wrong.msg.startswith("Unterminated string"):
            return "unexpected end of JSON input"
        after = "after object key:value pair" if _in_object(text[:at]) else "after array element"
        place = next((words for start, words in _PLACES.items() if wrong.msg.startswith(start)), after)
        return f"invalid character {_rune(text[at])} {place}"
    except (ValueError, RecursionError):
        return "exceeded max depth"
    return "invalid UTF-8 in string" if "\ufffd" in text else "invalid value"


def _in_object(text: str) -> bool:
    """Whether the innermost open bracket is a brace."""
    open_: list[str] = []
    quoted = escaped = False
    for mark in text:
        if quoted:
            quoted, escaped = mark != '"' or escaped, mark == "\\" and not escaped
        elif mark == '"':
            quoted = True
        elif mark in "{[":
            open_.append(mark)
        elif mark in "}]" and open_:
            open_.pop()
    return bool(open_) and open_[-1] == "{"


def _rune(mark: str) -> str:
    return "'\\''" if mark == "'" else f"'{mark}'"


def load(raw: bytes) -> Json:
    """Our own bytes to an object: cannot fail."""
    found: Json = _decoder.decode(raw)
    return found


def decode_yaml(raw: bytes) -> Any:
    """YAML (or JSON) to dictionaries; raises ApiError 400."""
    import yaml  # noqa: PLC0415  # most requests are JSON

    try:
        return plain_yaml(raw)
    except (yaml.YAMLError, ValueError, RecursionError, UnicodeDecodeError) as wrong:
        raise bad_request(f"error converting YAML to JSON: {wrong}") from None


def encode_yaml(value: Any) -> bytes:
    """As the real server writes it: keys in order, double quotes where quotes are needed."""
    import yaml  # noqa: PLC0415

    text: str = yaml.dump(value, Dumper=_yaml_dumper(), allow_unicode=True)
    return text.encode()


def plain_yaml(raw: bytes) -> Any:
    """YAML to dictionaries; raises yaml.YAMLError or ValueError."""
    import yaml  # noqa: PLC0415

    return _plain(yaml.load(raw, Loader=_yaml_loader()), 0)  # noqa: S506  # a safe loader, less dates


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
        style = "|" if "\n" in value else None if plain and value.lower() not in ("y", "n") else '"'
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
