"""KAI Scheduler: Queue (scheduling.run.ai) and Topology (kai.scheduler).

Its cpu is in millicores, its memory in megabytes of 10^6 bytes, -1 is unlimited, and a limit or weight that is left out
is 0: nothing beyond the quota.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Final

from quartermaster.api.peers.carrying import (
    Carried,
    Carrying,
    Json,
    amount,
    each,
    of_kinds,
    ours,
    quantity,
    spec_of,
    title,
)
from quartermaster.api.times import seconds, span
from quartermaster.model.errors import InvalidInput

_UNITS: Final = {"gpu": Fraction(1), "cpu": Fraction(1, 1000), "memory": Fraction(10**6)}
_POOL: Final = "kai.scheduler/node-pool"
_OF_ITSELF: Final = {
    "BindRequest": "is of the moment, and goes with KAI's binder",
    "SchedulingShard": "settings of KAI's scheduler: there are no shards here, one scheduler sees all nodes",
    "Config": "settings of KAI's operator",
}


def carry(objects: Iterable[Json]) -> Carrying:
    """What becomes of KAI's objects."""
    objects = list(objects)
    run_ai, kai = of_kinds(objects, "scheduling.run.ai"), of_kinds(objects, "kai.scheduler")
    found = Carrying()
    found.carried += each(run_ai.pop("Queue", []), _queue, found)
    found.carried += each(kai.pop("Topology", []), _topology, found)
    found.kept += map(title, run_ai.pop("PodGroup", []))
    for kind, values in (*run_ai.items(), *kai.items()):
        found.lost += [(title(value), _OF_ITSELF.get(kind, "has no counterpart here")) for value in values]
    return found


def _queue(value: Json) -> Carried:
    spec = spec_of(value)
    made = Carried(manifest={}, source=title(value))
    made.why.append("quota, limit and over-quota weight mean the same here, in Kubernetes' units")
    resources = spec.get("resources")
    if resources is None:
        made.why.append("KAI takes no queue without resources: nothing is deserved here and there is no limit")
    pool = (value["metadata"].get("labels") or {}).get(_POOL)
    if pool:
        made.lost.append(f"its quota is for node pool '{pool}' only: here it holds for the whole cluster")
    if spec.get("displayName"):
        made.lost.append(f"displayName '{spec['displayName']}': queues have one name here")
    quotas = {}
    for resource in _UNITS:
        if resources is not None:
            quotas[resource] = _quota(resource, resources.get(resource) or {}, made)
    made.manifest = ours(
        "Queue",
        value["metadata"]["name"],
        {
            "parent": spec.get("parentQueue"),
            "priority": spec.get("priority"),
            **quotas,
            **dict(_runtimes(spec)),
        },
    )
    return made


def _quota(resource: str, given: Json, made: Carried) -> Json:
    def read(word: str) -> Fraction | None:
        field = f"spec.resources.{resource}.{word}"
        found = amount(given.get(word, 0), field=field)
        if found < 0 and found != -1:
            raise InvalidInput(field, f"is {given[word]}", "give 0 or more, or -1 for unlimited")
        return None if found == -1 else found * _UNITS[resource]

    deserved, limit = read("quota"), read("limit")
    weight = amount(given.get("overQuotaWeight", 0), field=f"spec.resources.{resource}.overQuotaWeight")
    if limit is not None and deserved is not None and limit < deserved:
        if limit:
            made.why.append(f"{resource}: what is deserved is cut to the limit, as KAI never gives more")
            deserved = limit
        else:
            made.why.append(
                f"{resource}: limit 0, which KAI reads as nothing beyond the quota, is a limit of the quota"
            )
            limit = deserved
    elif limit == 0 and deserved == 0:
        made.why.append(f"{resource}: quota and limit are 0: nothing that asks for it runs, as with KAI")
    if "lendingLimit" in given:
        made.lost.append(
            f"{resource}: lendingLimit {given['lendingLimit']}: what a queue deserves and does not use is lent"
        )
    memory = resource == "memory"
    quota: Json = {"deserved": quantity(deserved, memory=memory)}
    if limit is not None:
        quota["limit"] = quantity(limit, memory=memory)
    quota["weight"] = int(weight) if weight.denominator == 1 else float(weight)
    return quota


def _runtimes(spec: Json) -> Iterator[tuple[str, str]]:
    for field in ("reclaimMinRuntime", "preemptMinRuntime"):
        if spec.get(field):
            try:
                yield field, span(seconds(spec[field]))
            except InvalidInput as wrong:
                raise InvalidInput(f"spec.{field}", wrong.problem, wrong.fix) from None


def _topology(value: Json) -> Carried:
    levels = []
    for level in spec_of(value).get("levels") or ():
        alias = level.get("alias")
        levels.append({"label": level["nodeLabel"]} | ({"alias": alias} if alias else {}))
    made = Carried(manifest=ours("Topology", value["metadata"]["name"], {"levels": levels}), source=title(value))
    made.why.append("the levels are the same, coarse to fine; say `hard: true` for an NVLink level")
    return made
