"""Katib: an experiment has no pods of its own; each of its trials is a job of another kind, and that is the gang."""

from __future__ import annotations

from dataclasses import replace

from quartermaster.workloads.fields import count, mapping, text
from quartermaster.workloads.group import Group
from quartermaster.workloads.reading import Reading


def experiment(read: Reading) -> tuple[Group, ...]:
    """The groups of one trial; so many trials run at a time."""
    trial = mapping(read.spec, "trialTemplate.trialSpec", where="spec")
    at_once = count(read.spec, "parallelTrialCount", 3, where="spec")
    in_all = count(read.spec, "maxTrialCount", at_once, where="spec")
    at_once = min(at_once, in_all) if in_all else at_once
    groups = read.within(trial, where="spec.trialTemplate.trialSpec", per="trial", at_once=at_once)
    said = f"once for each trial: {at_once} at a time, {in_all or 'any number'} in all"
    return tuple(replace(group, why=(said, *group.why)) for group in groups)


def trial(read: Reading) -> tuple[Group, ...]:
    """The groups of its job."""
    spec = mapping(read.spec, "runSpec", where="spec")
    return read.within(spec, where="spec.runSpec") if text(spec, "kind") else ()
