"""Label and field selectors: the two query languages of lists and watches.

Parsed once per request, then asked per object with nothing decoded. Grammar and messages follow
k8s.io/apimachinery/pkg/labels and pkg/fields.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from quartermaster.local.apiserver.errors import ApiError, bad_request
from quartermaster.local.apiserver.names import key_problems, value_problems

_TOKEN = re.compile(r"[ \t\r\n]*(!=|==|=|!|>|<|,|\(|\)|[^ \t\r\n!=<>,()]+)")
_TERM = re.compile(r"(?:\\.|[^,\\]|\\$)+", re.DOTALL)
_OPERATORS = {"=": "in", "==": "in", "!=": "notin", ">": "gt", "<": "lt"}


@dataclass(frozen=True, slots=True)
class Requirement:
    """One clause: `operator` is in, notin, exists, absent, gt or lt."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: dict[str, str]) -> bool:
        """Whether labels satisfy it."""
        value = labels.get(self.key)
        if self.operator == "in":
            return value in self.values
        if self.operator == "notin":
            return value not in self.values
        if self.operator == "exists":
            return value is not None
        if self.operator == "absent":
            return value is None
        try:
            number, bound = int(value or ""), int(next(iter(self.values)))
        except ValueError:
            return False
        return number > bound if self.operator == "gt" else number < bound


Selector = tuple[Requirement, ...]
"""All have to hold; empty selects everything."""


def matches(selector: Selector, labels: dict[str, str]) -> bool:
    """Whether labels satisfy all requirements."""
    return all(requirement.matches(labels) for requirement in selector)


def parse_labels(text: str) -> Selector:
    """``a=b,c!=d,e in (f,g),!h``; raises ApiError 400."""
    parser = _Parser(text)
    found: list[Requirement] = []
    while parser.next != "" or found:
        if not _is_name(parser.next) and parser.next != "!":
            expected = "identifier after ','" if found else "!, identifier, or 'end of string'"
            raise bad_request(f"found '{parser.next}', expected: {expected}")
        found.append(parser.requirement())
        mark = parser.take()
        if mark == "":
            break
        if mark != ",":
            raise bad_request(f"found '{mark}', expected: ',' or 'end of string'")
    return tuple(sorted(found, key=lambda requirement: requirement.key))


class _Parser:
    """One token ahead; the empty token is the end. ``in`` and ``notin`` are names wherever no operator can be."""

    def __init__(self, text: str) -> None:
        self._tokens = [match[1] for match in _TOKEN.finditer(text)]
        self._position = 0

    @property
    def next(self) -> str:
        return self._tokens[self._position] if self._position < len(self._tokens) else ""

    def take(self) -> str:
        token = self.next
        self._position += 1
        return token

    def requirement(self) -> Requirement:
        negated = self.next == "!"
        if negated:
            self.take()
        key = self._name(self.take())
        if problem := "; ".join(key_problems(key)):
            raise _unparsable(f'<nil>: Invalid value: "{key}": {problem}')
        if negated or self.next in ("", ","):
            return Requirement(key, "absent" if negated else "exists")
        operator = self.take()
        if operator in ("in", "notin"):
            values = self._set()
        elif operator in _OPERATORS:
            values = {""} if self.next in ("", ",") else {self._name(self.take())}
        else:
            raise _unparsable(f"found '{operator}', expected: in, notin, =, ==, !=, gt, lt")
        problems = []
        if operator in "<>":
            problems += [
                f"values[0]: Invalid value: \"{value}\": for 'Gt', 'Lt' operators, the value must be an integer"
                for value in values
                if not re.fullmatch(r"[-+]?\d+", value)
            ]
        problems += [
            f'values[{index}][{key}]: Invalid value: "{value}": {problem}'
            for index, value in enumerate(sorted(values))
            if (problem := "; ".join(value_problems(value)))
        ]
        if problems:
            raise _unparsable(problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]")
        return Requirement(key, _OPERATORS.get(operator, operator), frozenset(values))

    def _name(self, token: str) -> str:
        if not _is_name(token):
            raise _unparsable(f"found '{token}', expected: identifier")
        return token

    def _set(self) -> set[str]:
        opening = self.take()
        if opening != "(":
            raise _unparsable(f"found '{opening}' expected: '('")
        if self.next == ")":
            self.take()
            return {""}
        if not _is_name(self.next) and self.next != ",":
            raise _unparsable(f"found '{self.next}', expected: ',', ')' or identifier")
        values: set[str] = set()
        while True:
            found = self.take()
            if _is_name(found):
                values.add(found)
                if self.next not in (",", ")"):
                    raise _unparsable(f"found '{self.next}', expected: ',' or ')'")
                if self.next == ")":
                    break
            elif found == ",":
                if not values or self.next in (",", ")"):
                    values.add("")
                if self.next == ")":
                    break
            else:
                raise _unparsable(f"found '{found}', expected: ',', or identifier")
        self.take()
        return values


def _is_name(token: str) -> bool:
    return bool(token) and token[0] not in "!=<>,()"


def _unparsable(why: str) -> ApiError:
    return bad_request(f"unable to parse requirement: {why}")


def from_object(selector: object) -> Selector | None:
    """A metav1.LabelSelector; None (nothing is selected) if it is absent or not one."""
    if not isinstance(selector, dict):
        return None
    found = [
        Requirement(key, "in", frozenset([value]))
        for key, value in (selector.get("matchLabels") or {}).items()
        if isinstance(value, str)
    ]
    operators = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "absent"}
    for expression in selector.get("matchExpressions") or ():
        operator = operators.get(expression.get("operator"), "in")
        found.append(Requirement(expression.get("key", ""), operator, frozenset(expression.get("values") or ())))
    return tuple(found)


def to_text(selector: Selector) -> str:
    """As ``kubectl get -o wide`` prints it."""
    clauses = []
    for requirement in sorted(selector, key=lambda item: item.key):
        values = ",".join(sorted(requirement.values))
        if requirement.operator in ("in", "notin"):
            single = len(requirement.values) == 1 and requirement.operator == "in"
            clauses.append(
                f"{requirement.key}={values}" if single else f"{requirement.key} {requirement.operator} ({values})"
            )
        else:
            clauses.append(("!" if requirement.operator == "absent" else "") + requirement.key)
    return ",".join(clauses)


@dataclass(frozen=True, slots=True)
class FieldClause:
    """One comparison of a field selector."""

    path: str
    value: str
    equal: bool


def parse_fields(text: str) -> tuple[FieldClause, ...]:
    r"""``a.b=c,d!=e``; a backslash keeps ``\\``, ``,`` and ``=`` in a value; raises ApiError 400."""
    found = []
    for part in sorted(_TERM.findall(text)):
        match = re.match(r"(.*?)(!=|==|=)(.*)", part, re.DOTALL)
        if not match:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
        found.append(FieldClause(match[1], _unescaped(match[3]), match[2] != "!="))
    return tuple(found)


def _unescaped(text: str) -> str:
    def plain(match: re.Match[str]) -> str:
        found = match[0]
        if found in (",", "="):
            raise bad_request(f"invalid field selector: unescaped character in value: {ord(found)}")
        if found[1:] not in ("\\", ",", "="):
            raise bad_request(f"invalid field selector: invalid escape sequence: {found}")
        return found[1:]

    return re.sub(r"\\.?|[,=]", plain, text, flags=re.DOTALL)
