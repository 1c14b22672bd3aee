"""Label and field selectors: the two query languages of lists and watches.

Parsed once per request, then asked per object with nothing decoded. Grammar and messages follow
k8s.io/apimachinery/pkg/labels and pkg/fields.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from quartermaster.local.apiserver.errors import ApiError, bad_request
from quartermaster.local.apiserver.names import label_key_problem, label_value_problem

_TOKEN = re.compile(r"\s*(!=|==|=|!|>|<|,|\(|\)|[^\s!=<>,()]+)")


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
    tokens = [match[1] for match in _TOKEN.finditer(text)]
    if "".join(tokens) != re.sub(r"\s", "", text):
        raise _unparsable(text, "found unexpected characters")
    position = 0

    def take(expected: str = "") -> str:
        nonlocal position
        found = tokens[position] if position < len(tokens) else ""
        if expected and found != expected:
            raise _unparsable(text, f"found '{found}', expected: '{expected}'")
        position += 1
        return found

    found: list[Requirement] = []
    while position < len(tokens):
        negated = tokens[position] == "!"
        if negated:
            take()
        key = take()
        if problem := label_key_problem(key):
            raise _unparsable(text, f'key: Invalid value: "{key}": {problem}')
        operator = tokens[position] if position < len(tokens) else ","
        if negated or operator == ",":
            found.append(Requirement(key, "absent" if negated else "exists"))
        elif operator in ("=", "==", "!="):
            take()
            value = take() if position < len(tokens) and tokens[position] != "," else ""
            found.append(Requirement(key, "notin" if operator == "!=" else "in", _checked(text, [value])))
        elif operator in (">", "<"):
            take()
            value = take()
            if not re.fullmatch(r"-?\d+", value):
                raise _unparsable(text, "for 'Gt', 'Lt' operators, the value must be an integer")
            found.append(Requirement(key, "gt" if operator == ">" else "lt", frozenset([value])))
        elif operator in ("in", "notin"):
            take()
            take("(")
            values: list[str] = [""] if position < len(tokens) and tokens[position] in (",", ")") else []
            while position < len(tokens) and tokens[position] != ")":
                value = take()
                if value != ",":
                    values.append(value)
                elif position < len(tokens) and tokens[position] in (",", ")"):
                    values.append("")
            take(")")
            found.append(Requirement(key, operator, _checked(text, values)))
        else:
            raise _unparsable(text, f"found '{operator}', expected: ',', '=', '!=', 'in' or 'notin'")
        if position < len(tokens):
            take(",")
            if position == len(tokens):
                raise _unparsable(text, "found '', expected: identifier after ','")
    return tuple(found)


def _checked(text: str, values: Sequence[str]) -> frozenset[str]:
    for value in values:
        if problem := label_value_problem(value):
            raise _unparsable(text, f'values: Invalid value: "{value}": {problem}')
    return frozenset(values)


def _unparsable(text: str, why: str) -> ApiError:
    return bad_request(f'unable to parse requirement: "{text}": {why}')


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
    """``a.b=c,d!=e``; backslash escapes; raises ApiError 400."""
    found = []
    for part in re.split(r"(?<!\\),", text):
        if not part:
            continue
        match = re.fullmatch(r"((?:[^=!\\]|\\.)*)(!=|==|=)((?:[^=\\]|\\.)*)", part, re.DOTALL)
        if not match:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
        value = re.sub(r"\\(.)", r"\1", match[3], flags=re.DOTALL)
        found.append(FieldClause(match[1].strip(), value, match[2] != "!="))
    return tuple(found)
