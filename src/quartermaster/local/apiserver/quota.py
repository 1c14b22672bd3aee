"""ResourceQuota and LimitRange: what a namespace may hold, and what a container gets when it does not say.

Usage is counted from the objects themselves when a quota is asked, so it cannot drift; ``status.used`` of the quota is
written along with the object that adds to it (quota_usage.py lowers it). Without a controller manager's share there is
only what the status says, as in a bare API server. Scopes understood: Terminating, NotTerminating, BestEffort,
NotBestEffort and PriorityClass by name.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from quartermaster.local.apiserver import managers
from quartermaster.local.apiserver.admission import Admission, Operation
from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.codec import load
from quartermaster.local.apiserver.defaults_pods import qos_class
from quartermaster.local.apiserver.errors import Json, forbidden
from quartermaster.local.apiserver.quantity import canonical, parse
from quartermaster.local.apiserver.store import Record

_COUNTED = {
    "pods": "pods",
    "services": "services",
    "configmaps": "configmaps",
    "secrets": "secrets",
    "persistentvolumeclaims": "persistentvolumeclaims",
    "replicationcontrollers": "replicationcontrollers",
    "resourcequotas": "resourcequotas",
}


def install(admission: Admission, cluster: Cluster, *, counting: bool = True) -> None:
    """Add both plugins. `counting`: find out what is used, which is a controller manager's work."""
    limits, quotas = _Limits(cluster), _Quotas(cluster, counting=counting)
    admission.mutating.append(limits.fill)
    admission.validating += [limits.check, quotas.check]


class _Limits:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def _records(self, operation: Operation) -> list[Record]:
        if operation.kind.table != "pods" or operation.verb != "CREATE" or operation.subresource:
            return []
        return list(self._cluster.store.table("limitranges").records(operation.key[0]))

    def _ranges(self, operation: Operation) -> list[Json]:
        records = self._records(operation)
        return [limit for record in records for limit in load(record.raw).get("spec", {}).get("limits") or ()]

    def fill(self, operation: Operation) -> None:
        """Give containers the limits and requests that they do not say, and note that it was done."""
        for record in self._records(operation):
            given = self._given(operation.value, load(record.raw))
            if given:
                annotations = operation.value["metadata"].setdefault("annotations", {})
                annotations["kubernetes.io/limit-ranger"] = f"LimitRanger plugin set: {'; '.join(given)}"
            operation.value["status"]["qosClass"] = qos_class(operation.value["spec"])

    def _given(self, pod: Json, limit_range: Json) -> list[str]:
        usual: dict[str, dict[str, str]] = {"requests": {}, "limits": {}}
        for limit in limit_range.get("spec", {}).get("limits") or ():
            if limit.get("type") == "Container":
                usual["requests"] |= limit.get("defaultRequest") or {}
                usual["limits"] |= limit.get("default") or {}
        said = []
        for group, what in (("containers", "container"), ("initContainers", "init container")):
            for container in pod.get("spec", {}).get(group) or ():
                resources = container.setdefault("resources", {})
                for name, amounts in usual.items():
                    new = sorted(amounts.keys() - resources.get(name, {}).keys())
                    if new:
                        resources.setdefault(name, {}).update({key: amounts[key] for key in new})
                        said.append(f"{', '.join(new)} {name[:-1]} for {what} {container.get('name', '')}")
        return said

    def check(self, operation: Operation) -> None:
        """Refuse what is outside a range."""
        wrong = []
        for limit in self._ranges(operation):
            kind = limit.get("type")
            if kind == "Container":
                parts = [container.get("resources", {}) for container in _containers(operation.value)]
            elif kind == "Pod":
                parts = [_summed(operation.value)]
            else:
                continue
            for resources in parts:
                wrong += _outside(limit, resources, str(kind))
        if wrong:
            raise forbidden("pods", "", operation.key[1], wrong[0] if len(wrong) == 1 else f"[{', '.join(wrong)}]")


def _containers(pod: Json) -> list[Json]:
    spec = pod.get("spec", {})
    return [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]


def _summed(pod: Json) -> Json:
    found: dict[str, dict[str, Fraction]] = {"requests": {}, "limits": {}}
    for container in pod.get("spec", {}).get("containers") or ():
        for group, sums in found.items():
            for name, amount in (container.get("resources", {}).get(group) or {}).items():
                sums[name] = sums.get(name, Fraction(0)) + parse(str(amount))
    return {group: {name: _text(amount) for name, amount in sums.items()} for group, sums in found.items()}


def _outside(limit: Json, resources: Json, kind: str) -> list[str]:
    wrong = []
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    for name, least in (limit.get("min") or {}).items():
        if name not in requests:
            wrong.append(f"minimum {name} usage per {kind} is {least}.  No request is specified")
        elif parse(requests[name]) < parse(least):
            wrong.append(f"minimum {name} usage per {kind} is {least}, but request is {requests[name]}")
    for name, most in (limit.get("max") or {}).items():
        if name not in limits:
            wrong.append(f"maximum {name} usage per {kind} is {most}.  No limit is specified")
        elif parse(limits[name]) > parse(most):
            wrong.append(f"maximum {name} usage per {kind} is {most}, but limit is {limits[name]}")
    return wrong


class _Quotas:
    def __init__(self, cluster: Cluster, *, counting: bool) -> None:
        self._cluster = cluster
        self._counting = counting

    def check(self, operation: Operation) -> None:
        """Refuse what would exceed a quota, and write down what is used."""
        if operation.verb != "CREATE" or operation.subresource or not operation.kind.namespaced:
            return
        namespace = operation.key[0]
        table = self._cluster.store.table("resourcequotas")
        if not table.objects.get(namespace):
            return
        asked = usage_of(operation.kind.table, operation.value)
        for record in list(table.records(namespace)):
            quota = load(record.raw)
            hard = self._hard(quota)
            wanted = {name: asked[name] for name in hard if name in asked}
            if not wanted or not _in_scope(quota, operation):
                continue
            self._demands(operation, quota, hard)
            used = _used(self._cluster, namespace, quota) if self._counting else self._told(operation, quota, wanted)
            over = {
                name: amount
                for name, amount in wanted.items()
                if used.get(name, Fraction(0)) + amount > parse(str(hard[name]))
            }
            if over:
                limits = ",".join(f"{name}={hard[name]}" for name in sorted(over))
                raise forbidden(
                    operation.kind.plural,
                    operation.kind.group,
                    operation.key[1],
                    f"exceeded quota: {quota['metadata']['name']}, requested: {_shown(wanted, over)}, "
                    f"used: {_shown(used, over)}, limited: {limits}",
                )
            if not operation.options.dry_run:
                total = {name: used.get(name, Fraction(0)) + wanted.get(name, Fraction(0)) for name in hard}
                quota["status"] = {"hard": hard, "used": {name: _text(amount) for name, amount in total.items()}}
                kind = self._cluster.registry.stored("resourcequotas")
                type_ = self._cluster.schemas.of("/v1/ResourceQuota")
                assert kind is not None, "quotas are built in"
                assert type_ is not None, "quotas are built in"
                managers.record_own_status(quota, load(record.raw), type_=type_, now=self._cluster.now())
                self._cluster.put(kind, quota, record)

    def _hard(self, quota: Json) -> Json:
        """What may be used at most: what is counted, is counted by the status."""
        found: Json = quota.get("spec" if self._counting else "status", {}).get("hard") or {}
        return found

    def _told(self, operation: Operation, quota: Json, wanted: Iterable[str]) -> dict[str, Fraction]:
        """What somebody else has found to be used; raises ApiError 403 if nobody has yet."""
        used = quota.get("status", {}).get("used") or {}
        missing = sorted(name for name in wanted if name not in used)
        if missing:
            kind, name = operation.kind, quota["metadata"]["name"]
            why = f"status unknown for quota: {name}, resources: {','.join(missing)}"
            raise forbidden(kind.plural, kind.group, operation.key[1], why)
        return {name: parse(str(amount)) for name, amount in used.items()}

    def _demands(self, operation: Operation, quota: Json, hard: Json) -> None:
        """A quota on cpu or memory makes every container say how much."""
        if operation.kind.table != "pods":
            return
        missing = set()
        for name in hard:
            group, _, resource = name.rpartition(".")
            if resource in ("cpu", "memory") and group in ("", "requests", "limits"):
                for container in operation.value["spec"].get("containers") or ():
                    if resource not in (container.get("resources", {}).get(group or "requests") or {}):
                        missing.add(name)
        if missing:
            names = operation.value["spec"].get("containers") or ()
            text = "; ".join(f"{name} for: {','.join(item['name'] for item in names)}" for name in sorted(missing))
            raise forbidden(
                "pods", "", operation.key[1], f"failed quota: {quota['metadata']['name']}: must specify {text}"
            )


def status_of(cluster: Cluster, namespace: str, quota: Json) -> Json:
    """The status of a quota as things are."""
    hard, used = quota.get("spec", {}).get("hard") or {}, _used(cluster, namespace, quota)
    return {"hard": hard, "used": {name: _text(used.get(name, Fraction(0))) for name in hard}}


def _used(cluster: Cluster, namespace: str, quota: Json) -> dict[str, Fraction]:
    hard = quota.get("spec", {}).get("hard") or {}
    found: dict[str, Fraction] = {}
    for table in list(cluster.store.tables.values()):
        if table.name not in _COUNTED and f"count/{table.name}" not in hard:
            continue
        for record in table.records(namespace):
            value = load(record.raw)
            if table.name == "pods" and not scoped(quota, value):
                continue
            for name, amount in usage_of(table.name, value).items():
                if name in hard:
                    found[name] = found.get(name, Fraction(0)) + amount
    return found


def usage_of(table: str, value: Json) -> dict[str, Fraction]:
    """What one object counts for."""
    one = Fraction(1)
    found = {f"count/{table}": one}
    if table in _COUNTED:
        found[_COUNTED[table]] = one
    if table == "pods":
        if value.get("status", {}).get("phase") in ("Succeeded", "Failed"):
            return {f"count/{table}": one}
        summed = _summed(value)
        for group in ("requests", "limits"):
            for name, amount in summed[group].items():
                found[f"{group}.{name}"] = parse(amount)
                if group == "requests" and name in ("cpu", "memory", "ephemeral-storage"):
                    found[name] = parse(amount)
    elif table == "persistentvolumeclaims":
        storage = value.get("spec", {}).get("resources", {}).get("requests", {}).get("storage")
        if storage:
            found["requests.storage"] = parse(str(storage))
    elif table == "services":
        kind = value.get("spec", {}).get("type")
        if kind == "LoadBalancer":
            found["services.loadbalancers"] = one
        if kind in ("NodePort", "LoadBalancer"):
            found["services.nodeports"] = one
    return found


def _in_scope(quota: Json, operation: Operation) -> bool:
    return operation.kind.table != "pods" or scoped(quota, operation.value)


def scoped(quota: Json, pod: Json) -> bool:
    """Whether a quota is about a pod."""
    spec, pod_spec = quota.get("spec", {}), pod.get("spec", {})
    clauses = [{"scopeName": name, "operator": "Exists"} for name in spec.get("scopes") or ()]
    clauses += (spec.get("scopeSelector") or {}).get("matchExpressions") or ()
    best_effort = pod.get("status", {}).get("qosClass") == "BestEffort"
    for clause in clauses:
        name, operator, values = clause["scopeName"], clause.get("operator", "Exists"), clause.get("values") or ()
        if name == "PriorityClass":
            own = pod_spec.get("priorityClassName", "")
            holds = {"In": own in values, "NotIn": own not in values, "Exists": bool(own), "DoesNotExist": not own}[
                operator
            ]
        else:
            holds = {
                "Terminating": "activeDeadlineSeconds" in pod_spec,
                "NotTerminating": "activeDeadlineSeconds" not in pod_spec,
                "BestEffort": best_effort,
                "NotBestEffort": not best_effort,
            }.get(name, True)
        if not holds:
            return False
    return True


def _shown(amounts: dict[str, Fraction], names: Iterable[str]) -> str:
    return ",".join(f"{name}={_text(amounts.get(name, Fraction(0)))}" for name in sorted(names))


def _text(amount: Fraction) -> str:
    if amount.denominator == 1:
        return canonical(f"{amount.numerator}")
    return canonical(f"{-(-amount.numerator * 1000 // amount.denominator)}m")
