"""Fair shares worked out by hand; those of docs/fair-share.md are read from there."""

import math
import re
from pathlib import Path

import pytest

from quartermaster.model.errors import InvalidInput
from quartermaster.model.queue import UNLIMITED, Queue, QueueTree, Quota
from quartermaster.model.units import CPU, DEVICE, GIB, GPU, MEMORY
from quartermaster.scheduling.fairshare import FairShare, fair_shares

PAGE = Path(__file__).parents[3] / "docs" / "fair-share.md"


def queue(
    name: str,
    deserved: float = 0,
    *,
    weight: float = 1,
    limit: float = UNLIMITED,
    priority: int = 100,
    parent: str | None = None,
    created: float = 0,
    usage: float = 0,
    resource: str = GPU,
) -> Queue:
    quota = Quota(deserved=deserved, limit=limit, over_quota_weight=weight)
    return Queue(
        name=name,
        parent=parent,
        priority=priority,
        created=created,
        quotas={resource: quota},
        usage={resource: usage},
    )


def shared(there: float, asked: dict[str, float], *queues: Queue, k: float = 0.0) -> dict[str, float]:
    """Shares of GPUs in devices."""
    shares = fair_shares(
        QueueTree(queues),
        capacity={GPU: round(there * DEVICE)},
        requested={name: {GPU: round(amount * DEVICE)} for name, amount in asked.items()},
        k=k,
    )
    return {name: of_queue[GPU].share / DEVICE for name, of_queue in shares.items()}


def examples() -> list[tuple[str, str]]:
    sections = PAGE.read_text(encoding="utf-8").split("\n## ")
    return [(title, text) for title, _, text in (s.partition("\n") for s in sections) if title.startswith("Example")]


def test_the_page_has_two_examples() -> None:
    assert len(examples()) == 2


@pytest.mark.parametrize(("title", "text"), examples())
def test_examples_of_the_page(title: str, text: str) -> None:
    given = re.search(r"^(\d+) GPUs, k = (\d+)\.$", text, re.MULTILINE)
    assert given
    there, k = map(int, given.groups())
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    table = [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]
    queues = [
        queue(
            row["queue"],
            float(row["deserved"]),
            weight=float(row["weight"]),
            limit=math.inf if row["limit"] == "∞" else float(row["limit"]),
            priority=int(row["priority"]),
            parent=row["parent"] or None,
            usage=float(row["usage"]),
        )
        for row in table
    ]
    requested = {row["queue"]: {GPU: int(row["asked"]) * DEVICE} for row in table if row["asked"]}
    shares = fair_shares(QueueTree(queues), capacity={GPU: there * DEVICE}, requested=requested, k=k)
    got = {name: (of[GPU].share / DEVICE, of[GPU].allocatable / DEVICE) for name, of in shares.items()}
    assert got == {row["queue"]: (float(row["share"]), float(row["allocatable"])) for row in table}


def test_surplus_follows_weights() -> None:
    asked = {"a": 100.0, "b": 100.0}
    assert shared(10, asked, queue("a", 2, weight=3), queue("b", 0, weight=1)) == {"a": 8, "b": 2}


def test_a_higher_class_is_served_first() -> None:
    asked = {"a": 7.0, "b": 10.0}
    assert shared(10, asked, queue("a", priority=200), queue("b", weight=9)) == {"a": 7, "b": 3}


def test_a_rounded_higher_class_leaves_nothing_to_a_lower_one() -> None:
    asked = {"a": 9.0, "b": 9.0, "c": 9.0}
    queues = (queue("a", priority=200, created=5), queue("b", priority=200, created=3), queue("c"))
    assert shared(5, asked, *queues) == {"a": 2, "b": 3, "c": 0}


def test_remainder_goes_by_rest_then_age_then_name() -> None:
    asked = dict.fromkeys("abc", 10.0)
    assert shared(10, asked, *(queue(name) for name in "cba")) == {"a": 4, "b": 3, "c": 3}
    assert shared(10, asked, queue("a", created=9), queue("b", created=1), queue("c", created=2)) == {
        "a": 3,
        "b": 4,
        "c": 3,
    }
    # 10 by 1 : 1 : 2.5 is 2.22, 2.22, 5.56
    assert shared(10, asked, queue("a"), queue("b"), queue("c", weight=2.5)) == {"a": 2, "b": 2, "c": 6}


def test_decimal_weights_are_what_was_written() -> None:
    asked = dict.fromkeys("abcd", 100.0)
    queues = (*(queue(name, weight=0.1) for name in "abc"), queue("d", weight=0.3))
    assert shared(6, asked, *queues) == {"a": 1, "b": 1, "c": 1, "d": 3}


def test_zero_weights_leave_surplus_unused() -> None:
    asked = {"a": 10.0, "b": 10.0}
    assert shared(10, asked, queue("a", 3, weight=0), queue("b", 2, weight=0)) == {"a": 3, "b": 2}
    assert shared(10, asked, queue("a", 3, weight=0), queue("b", 2)) == {"a": 3, "b": 7}


def test_broken_guarantees_fall_on_the_lowest_class_by_what_is_deserved() -> None:
    asked = {"a": 4.0, "b": 9.0, "c": 9.0}
    queues = (queue("a", 4, priority=200), queue("b", 8), queue("c", 4))
    assert shared(10, asked, *queues) == {"a": 4, "b": 4, "c": 2}
    assert shared(10, asked | {"b": 1.0}, queue("a", 4), queue("b", 8), queue("c", 8)) == {"a": 3, "b": 1, "c": 6}


def test_everything_is_deserved_by_everyone() -> None:
    queues = (queue("a", UNLIMITED), queue("b", UNLIMITED))
    assert shared(10, {"a": 3.0, "b": 50.0}, *queues) == {"a": 3, "b": 7}
    assert shared(10, {"a": 50.0, "b": 50.0}, *queues) == {"a": 5, "b": 5}


def test_children_share_what_the_parent_got() -> None:
    queues = (queue("p", 4), queue("q", 6), queue("x", 6, parent="p"), queue("y", 2, parent="p"))
    got = shared(10, {"x": 9.0, "y": 9.0, "q": 9.0}, *queues)
    assert got == {"p": 4, "q": 6, "x": 3, "y": 1}


def test_a_parent_does_not_ask_for_what_limits_below_forbid() -> None:
    queues = (queue("p"), queue("q"), queue("x", parent="p", limit=2))
    assert shared(10, {"x": 10.0, "q": 10.0}, *queues) == {"p": 2, "q": 8, "x": 2}


def test_fractions_of_devices() -> None:
    assert shared(2.5, {"a": 0.25, "b": 9.0}, queue("a", 0.5), queue("b")) == {"a": 0.25, "b": 2.25}
    assert shared(1, {"a": 9.0, "b": 9.0}, queue("a", 0.3), queue("b", 0.2)) == {"a": 0.8, "b": 0.2}


def test_history_hits_who_used_much_unless_it_would_leave_nothing_to_anyone() -> None:
    asked = {"a": 10.0, "b": 10.0}
    assert shared(10, asked, queue("a", usage=1), queue("b"), k=1) == {"a": 0, "b": 10}
    assert shared(10, asked, queue("a", usage=1), queue("b"), k=0) == {"a": 5, "b": 5}
    assert shared(10, asked, queue("a", usage=3), queue("b", usage=3), k=1) == {"a": 5, "b": 5}
    assert shared(10, {"a": 10.0, "b": 1.0}, queue("a", usage=1), queue("b"), k=1) == {"a": 9, "b": 1}


def test_units_of_cpu_and_memory() -> None:
    tree = QueueTree([Queue(name=name) for name in "ab"])
    shares = fair_shares(
        tree,
        capacity={CPU: 1001, MEMORY: 4 * GIB + 1},
        requested={name: {CPU: 5000, MEMORY: 4 * GIB} for name in "ab"},
    )
    assert (shares["a"][CPU].share, shares["b"][CPU].share) == (501, 500)
    # 4294.967297 MB: each has 2147 whole ones, and what is left is less than a unit
    assert (shares["a"][MEMORY].share, shares["b"][MEMORY].share) == (2_147_967_297, 2_147_000_000)


def test_nothing_there_and_nothing_asked() -> None:
    tree = QueueTree.single()
    nothing = FairShare(deserved=math.inf, share=0.0, allocatable=math.inf)
    assert fair_shares(tree, capacity={}, requested={"default": {GPU: 5}})["default"][GPU] == nothing
    assert fair_shares(tree, capacity={GPU: 5}, requested={})["default"][GPU] == nothing
    assert fair_shares(tree, capacity={GPU: -5}, requested={"default": {GPU: 5}})["default"][GPU] == nothing
    assert fair_shares(QueueTree([]), capacity={GPU: 5}, requested={}) == {}


def test_many_rounds_end() -> None:
    queues = [queue(f"q{i:03}", weight=1 + i / 7, usage=i / 1000) for i in range(150)]
    asked = {q.name: 1.13**i / 1000 for i, q in enumerate(queues)}
    assert sum(shared(5000, asked, *queues, k=2.0).values()) == pytest.approx(5000)


@pytest.mark.parametrize("k", [-1.0, math.inf, math.nan])
def test_k_has_to_be_usable(k: float) -> None:
    with pytest.raises(InvalidInput, match="fair share: k"):
        fair_shares(QueueTree.single(), capacity={}, requested={}, k=k)


@pytest.mark.parametrize(
    ("requested", "usage", "message"),
    [
        ({"p": {GPU: 1}}, 0, "'p'.*has queues below"),
        ({"z": {GPU: 1}}, 0, "'z'.*does not exist"),
        ({"x": {GPU: -1}}, 0, "'x': request for gpu"),
        ({}, math.nan, "'x': usage of gpu"),
    ],
)
def test_wrong_input_is_named(requested: dict[str, dict[str, int]], usage: float, message: str) -> None:
    tree = QueueTree([queue("p"), queue("x", parent="p", usage=usage)])
    with pytest.raises(InvalidInput, match=message):
        fair_shares(tree, capacity={}, requested=requested)
