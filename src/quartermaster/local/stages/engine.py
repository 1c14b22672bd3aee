"""The decision: an object, the stages, chance -> which stage comes next, when, and what it does. Pure.

Of all stages that match, one is drawn by weight (KWOK's rule). A weight of 0 matches only when nothing else does.
Whoever keeps the choice keeps its `luck` as well: the moment can then be worked out again when the object changes (a
node that slows down makes its pods longer) without drawing again.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from quartermaster.kube.api import Json
from quartermaster.local.stages import paths
from quartermaster.local.stages.facts import Facts, compute
from quartermaster.local.stages.table import Condition, Event, Stage


@dataclass(frozen=True, slots=True)
class Transition:
    """A stage that was drawn for an object at `since`, with the luck (0..1) that its delay has."""

    stage: Stage
    since: float
    luck: float


@dataclass(frozen=True, slots=True)
class Change:
    """What a stage does to one object: (subresource, patch) in order, then the rest."""

    patches: tuple[tuple[str, Json], ...]
    event: Event | None
    delete: bool
    evict: bool


def matching(stages: Sequence[Stage], facts: Facts) -> list[Stage]:
    """The stages that compete for an object of the resource that `facts` are about."""
    found = [
        stage
        for stage in stages
        if stage.spec.resource_ref.resource == facts.resource
        and all(holds(condition, facts) for condition in stage.spec.selector.match_expressions)
    ]
    return [stage for stage in found if stage.spec.weight] or found


def choose(
    stages: Sequence[Stage], facts: Facts, rng: random.Random, *, before: Transition | None = None
) -> Transition | None:
    """What comes next; `before` stays if it still matches."""
    found = matching(stages, facts)
    if not found:
        return None
    if before is not None and before.stage in found:
        return before
    weights = [stage.spec.weight for stage in found]
    stage = found[0] if len(found) == 1 or not any(weights) else rng.choices(found, weights)[0]
    return Transition(stage, facts.now, rng.random())


def due(transition: Transition, facts: Facts) -> float:
    """When it happens, in the seconds of `facts.now`."""
    delay = transition.stage.spec.delay
    low, high = bounds(transition.stage, facts)
    since = transition.since
    if delay.since and (text := evaluate(delay.since, facts)) is not None:
        since = datetime.fromisoformat(str(text)).timestamp()
    return since + low + (high - low) * transition.luck


def bounds(stage: Stage, facts: Facts) -> tuple[float, float]:
    """The shortest and the longest delay, in seconds."""
    delay = stage.spec.delay
    low = delay.duration_milliseconds / 1000
    if delay.duration_from is not None and (found := evaluate(delay.duration_from.expression_from, facts)) is not None:
        low = max(0.0, float(found))
    jitter = delay.jitter_duration_milliseconds
    return low, max(low, jitter / 1000) if jitter is not None else low


def change(stage: Stage, facts: Facts) -> Change:
    """What the stage does to the object now."""
    following = stage.spec.next
    return Change(
        tuple((patch.subresource, fill(patch.template, facts)) for patch in following.patches),
        following.event,
        following.delete,
        following.evict,
    )


def holds(condition: Condition, facts: Facts) -> bool:
    """Whether an object passes a test."""
    value = evaluate(condition.key, facts)
    if condition.operator == "Exists":
        return value is not None
    if condition.operator == "DoesNotExist":
        return value is None
    text = "true" if value is True else "false" if value is False else "" if value is None else str(value)
    inside = value is not None and text in condition.values
    return inside if condition.operator == "In" else not inside


def evaluate(expression: str, facts: Facts) -> Any:
    """A path of the object, of its node (``@``), or a computed value (``=name``)."""
    if expression.startswith("="):
        return compute(expression[1:], facts, {})
    if expression.startswith("@"):
        return paths.look(facts.node, expression[1:])
    return paths.look(facts.object, expression)


def fill(template: Any, facts: Facts) -> Any:
    """A template with its values: ``=name``, ``=.path``, ``=@.path``, ``{=name: {arguments}}``; the rest as it is."""
    if isinstance(template, dict):
        if len(template) == 1 and (key := next(iter(template))).startswith("="):
            return compute(key[1:], facts, fill(template[key], facts) or {})
        return {key: fill(value, facts) for key, value in template.items()}
    if isinstance(template, list):
        return [fill(item, facts) for item in template]
    if isinstance(template, str) and template.startswith("="):
        inner = template[1:] if template[1:2] in (".", "@") else template
        return evaluate(inner, facts)
    return template
