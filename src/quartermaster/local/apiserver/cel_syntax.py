"""CEL that our library cannot read, said in words that it can.

Optional selection (``a.?b``, ``a[?0]``, ``optMap``) and functions with a namespace (``sets.contains``) become calls of
functions in cel_library.py; ``cel.bind`` becomes a list of one, and ``Object.spec{...}`` and ``JSONPatch{...}`` become
maps. Everything else stays as it was written. Optional entries of literals (``[?a]``, ``{?"k": a}``) are refused.
"""

from __future__ import annotations

import re

_NEEDED = re.compile(
    r"\.\s*\?|\[\s*\?|\{\s*\?|\.\s*opt(?:Flat)?Map\b|\b(?:sets|math|cel|strings|jsonpatch)\s*\.|\b(?:Object|JSONPatch)\b"
)
_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
    |(?P<string>[rRbB]{0,2}(?:\"{3}.*?\"{3}|'{3}.*?'{3}|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'))
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<number>\d[\w.]*)
    |(?P<mark>\.\?|.)""",
    re.VERBOSE | re.DOTALL,
)
_NAMESPACES = frozenset(("sets", "math", "strings", "jsonpatch"))
_CLOSING = {"(": ")", "[": "]", "{": "}"}


def plain(expression: str) -> str:
    """The same expression for the library; raises ValueError for what cannot be said."""
    if not _NEEDED.search(expression):
        return expression
    parser = _Parser(expression)
    text = parser.until("")
    if parser.next:
        raise ValueError(f"unexpected '{parser.next}'")
    return text


class _Parser:
    """Copies tokens, and knows of what it copied last whether it was a value, and whether an optional one."""

    def __init__(self, text: str) -> None:
        self._tokens = [(match.lastgroup, match[0]) for match in _TOKEN.finditer(text)]
        self._position = 0

    @property
    def next(self) -> str:
        self._skip()
        return self._tokens[self._position][1] if self._position < len(self._tokens) else ""

    def _skip(self) -> None:
        while self._position < len(self._tokens) and self._tokens[self._position][0] == "space":
            self._position += 1

    def _take(self, wanted: str = "") -> tuple[str, str]:
        """The next token; `wanted` is its text, ``name`` for any name, empty for anything."""
        self._skip()
        kind, text = self._tokens[self._position] if self._position < len(self._tokens) else ("mark", "")
        if wanted and wanted != (kind if wanted == "name" else text):
            raise ValueError(f"found '{text}', expected {wanted}")
        self._position += 1
        return str(kind), text

    def until(self, stop: str) -> str:
        """One expression, up to a mark of `stop` that is not inside of brackets."""
        found: list[str] = []
        value = optional = False
        start = 0
        while self.next and self.next not in stop:
            kind, text = self._take()
            if kind == "name" and text != "in":
                start = len(found)
                found.append(f" {self._called(text)}")
                value, optional = True, False
            elif kind in ("string", "number"):
                found.append(f" {text}")
                value, optional = True, False
            elif text == ".?":
                found.append(f'.optSelect("{self._take("name")[1]}")')
                value = optional = True
            elif text == "." and value:
                part, optional = self._selected(optional=optional)
                found.append(part)
            elif text == "[" and value:
                asked = self.next == "?"
                if asked:
                    self._take("?")
                inner = self.until("]")
                self._take("]")
                optional = optional or asked
                found.append(f".optIndex({inner})" if optional else f"[{inner}]")
            elif text == "{" and value:
                found[start:] = [self._message()]
            elif text in _CLOSING:
                found.append(f" {text}{', '.join(self._items(_CLOSING[text]))}{_CLOSING[text]}")
                value, optional = True, False
            else:
                found.append(f" {text}" if text == "in" else text)
                value = optional = False
        return "".join(found).strip()

    def _items(self, closing: str) -> list[str]:
        """What is between brackets, by commas, and the closing bracket."""
        found = []
        while self.next and self.next != closing:
            if self.next == "?":
                raise ValueError("optional entries of lists and maps are not understood")
            found.append(self.until("," + closing))
            if self.next == ",":
                self._take(",")
        self._take(closing)
        return found

    def _message(self) -> str:
        """The fields of a message as the entries of a map."""
        found = []
        while self.next != "}":
            if self.next == "?":
                raise ValueError("optional fields of objects are not understood")
            name = self._take("name")[1]
            self._take(":")
            found.append(f'"{name}": {self.until(",}")}')
            if self.next == ",":
                self._take(",")
        self._take("}")
        return f" {{{', '.join(found)}}}"

    def _called(self, name: str) -> str:
        """A name, with its call if it is that of a function."""
        if (name in _NAMESPACES or name == "cel") and self.next == ".":
            self._take(".")
            function = self._take("name")[1]
            self._take("(")
            items = self._items(")")
            if name != "cel":
                return f"{name}_{function}({', '.join(items)})"
            if function != "bind" or len(items) != 3:
                raise ValueError(f"cel.{function} is not understood")
            return f"[{items[1]}].map({items[0]}, {items[2]})[0]"
        if self.next != "(":
            return name
        self._take("(")
        return f"{name}({', '.join(self._items(')'))})"

    def _selected(self, *, optional: bool) -> tuple[str, bool]:
        """What follows a dot, and whether the result is optional."""
        name = self._take("name")[1]
        if self.next != "(":
            return (f'.optSelect("{name}")', True) if optional else (f".{name}", False)
        self._take("(")
        items = self._items(")")
        if name == "optMap" and len(items) == 2:
            return f".optList().map({items[0]}, {items[1]}).optFirst()", True
        if name == "optFlatMap" and len(items) == 2:
            return f".optList().map({items[0]}, ({items[1]}).optList()).optFlat()", True
        return f".{name}({', '.join(items)})", optional and name == "or"
