"""CEL as Kubernetes has it: optional selection, its functions, and what is refused instead of misread."""

from typing import Any

import pytest

from quartermaster.local.apiserver.cel import CelError, evaluate
from quartermaster.local.apiserver.cel_syntax import plain

SELF = {
    "a": {"b": 1},
    "items": [5, 6],
    "text": ".?",
    "parts": {"x": {}, "y": {"n": 2}},
    "deep": {"one": {"two": "z"}},
}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("self.?a.b.orValue(3)", 1),
        ("self.?absent.b.c.orValue(3)", 3),
        ("self.?absent.hasValue() ? 'y' : 'n'", "n"),
        ("self.items[?1].orValue(0) + self.items[?2].orValue(100)", 106),
        ("self.parts.all(k, self.parts[k].?n.orValue(0) >= 0)", True),
        ("self.?a.?b.optMap(v, v + 1).orValue(0)", 2),
        ("self.?absent.optMap(v, v + 1).orValue(0)", 0),
        ("self.?deep.optFlatMap(v, v.?one).?two.orValue('')", "z"),
        ("self.?deep.optFlatMap(v, v.?none).hasValue()", False),
        ("self.?absent.or(optional.of(4)).value()", 4),
        ("cel.bind(n, self.a.b + 1, n * n)", 4),
        ("sets.contains(self.items, [6, 5]) && !sets.intersects(self.items, [7])", True),
        ("math.greatest(1, 3, 2) in [3] && math.least([4, 2]) == 2", True),
        ("self.text.matches('^[.?]+$') && '.?' in [self.text] // .?comment", True),
        ("quantity('1Gi').add(quantity('512Mi')) == quantity('1536Mi')", True),
        (
            "quantity('50m').sub(quantity('20m')).isGreaterThan(quantity('0')) && quantity('2k').asInteger() == 2000",
            True,
        ),
        ("'%s has %d, %.2f'.format(['a', 3, 0.5])", "a has 3, 0.50"),
        ("isIP('fd00::1') && !isIP('1.2.3') && isCIDR('10.0.0.0/8') && !isCIDR('10.0.0.1')", True),
        ("'hello'.substring(1, 3) + ('abcb'.lastIndexOf('b') == 3 ? '' : '!')", "el"),
    ],
)
def test_an_expression_has_its_value(expression: str, value: Any) -> None:
    assert evaluate(expression, {"self": SELF}) == value


@pytest.mark.parametrize(
    "expression",
    ["[?self.?a]", '{?"k": self.?a}', "self.?", "self.?a.value(", "cel.block([1], 2)", "'abc'.substring(2, 9)"],
)
def test_what_cannot_be_said_or_has_no_value_is_an_error(expression: str) -> None:
    with pytest.raises(CelError):
        evaluate(expression, {"self": SELF})


def test_an_expression_without_such_words_is_left_alone() -> None:
    expression = "  self.a.b  ==  1 ? [1][0]\n : 2"
    assert plain(expression) is expression
