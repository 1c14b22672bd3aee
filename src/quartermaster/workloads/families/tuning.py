"""Katib: an experiment has no pods of its own; each of its trials is a job of another kind, and that is the gang."""

from __future__ import annotations

from dataclasses import replace

from quartermaster.workloads.fields import count, mapping, text
from quartermaster.workloads.group import Group, Json, Role
from quartermaster.workloads.reading import Reading


def experiment(read: Reading) -> tuple[Group, ...]:
    """The groups of one trial; so many trials run at a time."""
    trial, where = _template(read)
    at_once = count(read.spec, "parallelTrialCount", 3, where="spec")
    in_all = count(read.spec, "maxTrialCount", at_once, where="spec")
    at_once = min(at_once, in_all) if in_all else at_once
    groups = read.within(trial, where="spec.trialTemplate.trialSpec", per="trial", at_once=at_once)
    if not groups and where:
        why = [f"its trials are made from {where}, which is not here: how many pods they have is not known"]
        return (read.gang([Role.of("trial", 1)], why=why, per="trial", at_once=at_once, open=True),)
    said = f"once for each trial: {at_once} at a time, {in_all or 'any number'} in all"
    return tuple(replace(group, why=(said, *group.why)) for group in groups)


def _template(read: Reading) -> tuple[Json, str]:
    """What a trial is made from, and the ConfigMap that it stands in if it is not in the experiment."""
    inline = mapping(read.spec, "trialTemplate.trialSpec", where="spec")
    name = text(read.spec, "trialTemplate.configMap.configMapName", where="spec")
    if inline or not name:
        return inline, ""
    namespace = text(read.spec, "trialTemplate.configMap.configMapNamespace", where="spec") or read.namespace
    found = read.lookup("", "ConfigMap", namespace, name)
    key = text(read.spec, "trialTemplate.configMap.templatePath", where="spec")
    written = mapping(found, "data").get(key) if found else None
    parsed = read.parse(written) if isinstance(written, str) and read.parse else None
    return parsed or {}, f"{key} in the ConfigMap {name}"


def trial(read: Reading) -> tuple[Group, ...]:
    """The groups of its job."""
    spec = mapping(read.spec, "runSpec", where="spec")
    return read.within(spec, where="spec.runSpec") if text(spec, "kind") else ()
