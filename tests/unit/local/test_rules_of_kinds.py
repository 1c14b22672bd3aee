"""Rules of single kinds, in the words of kube-apiserver 1.36.3."""

from typing import Any

import pytest

from quartermaster.testing.kubernetes import Refused, kubernetes, pod

APPS = "/apis/apps/v1/namespaces/default"
NETWORKS = "/apis/networking.k8s.io/v1/namespaces/default"
CONTAINERS = {"containers": [{"name": "a", "image": "i"}]}
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": CONTAINERS}
SELECTS = {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE}
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}


def named(**content: Any) -> dict[str, Any]:
    return {"metadata": {"name": "x"}, **content}


def path(kind: str, backend: dict[str, Any], at: str = "/") -> dict[str, Any]:
    one = {"path": at, "pathType": kind, "backend": backend}
    return named(spec={"rules": [{"host": "a.b", "http": {"paths": [one]}}]})


SERVICE = {"service": {"name": "s", "port": {"number": 80}}}
WRONG = [
    (
        f"{APPS}/deployments",
        named(spec=SELECTS | {"strategy": {"type": "Odd"}}),
        'spec.strategy: Unsupported value: {"Type":"Odd","RollingUpdate":null}: supported values: "Recreate", '
        '"RollingUpdate"',
    ),
    (
        f"{APPS}/deployments",
        named(spec=SELECTS | {"strategy": {"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}}),
        "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
    ),
    (
        f"{APPS}/deployments",
        named(spec=SELECTS | {"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}}),
        "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
    ),
    (
        f"{APPS}/deployments",
        named(spec=SELECTS | {"progressDeadlineSeconds": 3, "minReadySeconds": 3}),
        "spec.progressDeadlineSeconds: Invalid value: 3: must be greater than minReadySeconds",
    ),
    (
        f"{APPS}/daemonsets",
        named(spec=SELECTS | {"updateStrategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}}}),
        "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero",
    ),
    ("secrets", named(type="kubernetes.io/dockerconfigjson"), "data[.dockerconfigjson]: Required value"),
    ("secrets", named(type="kubernetes.io/ssh-auth", data={"ssh-privatekey": ""}), "data[ssh-privatekey]: Required"),
    ("secrets", named(type="kubernetes.io/basic-auth"), "data[username]: Required value, data[password]: Required"),
    (f"{NETWORKS}/ingresses", path("Odd", SERVICE), 'pathType: Unsupported value: "Odd": supported values: "Exact"'),
    (
        f"{NETWORKS}/ingresses",
        path("Prefix", {}),
        'backend: Invalid value: "": resource or service backend is required',
    ),
    (f"{NETWORKS}/ingresses", path("Exact", SERVICE, "a"), 'path: Invalid value: "a": must be an absolute path'),
    (f"{NETWORKS}/ingresses", path("Exact", SERVICE, "/a//b"), "must not contain '//'"),
    (
        f"{NETWORKS}/networkpolicies",
        named(spec={"podSelector": {}, "egress": [{"ports": [{"port": 80, "endPort": 7}]}]}),
        "spec.egress[0].ports[0].endPort: Invalid value: 80: must be greater than or equal to `port`",
    ),
    (
        f"{NETWORKS}/networkpolicies",
        named(spec={"podSelector": {}, "ingress": [{"from": [{}]}]}),
        "spec.ingress[0].from[0]: Required value: must specify a peer",
    ),
    ("pods/p/binding", {"target": {"kind": "Node", "name": "n"}}, "name in URL does not match name in Binding object"),
]


def cron(schedule: str) -> dict[str, Any]:
    template = {"spec": {**CONTAINERS, "restartPolicy": "Never"}}
    return named(spec={"schedule": schedule, "jobTemplate": {"spec": {"template": template}}})


SCHEDULES = {
    "70 * * * *": "end of range (70) above maximum (59): 70",
    "* * 0 * *": "beginning of range (0) below minimum (1): 0",
    "* 5-3 * * *": "beginning of range (5) beyond end of range (3): 5-3",
    "1-2-3 * * * *": "too many hyphens: 1-2-3",
    "1/2/3 * * * *": "too many slashes: 1/2/3",
    "*/0 * * * *": "step of range should be a positive number: */0",
    "* * * * L": 'failed to parse int from L: strconv.Atoi: parsing "L": invalid syntax',
    "* * *": "expected exactly 5 fields, found 3: [* * *]",
    "@odd": "unrecognized descriptor: @odd",
    "TZ=UTC * * * * *": "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
}


@pytest.mark.parametrize(("schedule", "why"), SCHEDULES.items())
async def test_a_wrong_schedule_is_told_where(schedule: str, why: str) -> None:
    async with kubernetes() as api:
        with pytest.raises(Refused) as refused:
            await api.create("/apis/batch/v1/namespaces/default/cronjobs", cron(schedule))
        assert why in str(refused.value)


@pytest.mark.parametrize("schedule", ["5/10 * * jan-MAR sun", "1,2,,3 * ? * ?", "@daily", "@every 5m"])
async def test_a_schedule_is_let_in(schedule: str) -> None:
    async with kubernetes() as api:
        await api.create("/apis/batch/v1/namespaces/default/cronjobs", cron(schedule))


@pytest.mark.parametrize(("at", "body", "why"), WRONG)
async def test_what_is_wrong_is_named(at: str, body: dict[str, Any], why: str) -> None:
    async with kubernetes() as api:
        await api.create("pods", pod())
        with pytest.raises(Refused) as refused:
            await api.create(at, body)
        assert why in str(refused.value)


async def test_a_claim_grows_when_it_is_bound_and_shrinks_never_below_what_it_has() -> None:
    async with kubernetes() as api:
        await api.create("persistentvolumeclaims", named(spec=CLAIM))
        more = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
        with pytest.raises(Refused, match='-   "storage": "1Gi"'):
            await api.patch("persistentvolumeclaims/x", more)
        bound = {"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}}
        await api.patch("persistentvolumeclaims/x/status", bound)
        with pytest.raises(Refused, match="only dynamically provisioned pvc can be resized"):
            await api.patch("persistentvolumeclaims/x", more)
        classes = "/apis/storage.k8s.io/v1/storageclasses"
        await api.create(classes, named(provisioner="a.b/c", allowVolumeExpansion=True))
        await api.patch("persistentvolumeclaims/x", {"spec": {"storageClassName": "x"}})
        await api.patch("persistentvolumeclaims/x", more)
        with pytest.raises(Refused, match=r"field can not be less than status\.capacity"):
            await api.patch("persistentvolumeclaims/x", {"spec": {"resources": {"requests": {"storage": "1Gi"}}}})


async def test_metadata_goes_with_the_status_where_it_does_in_kubernetes() -> None:
    said = {"metadata": {"labels": {"c": "d"}, "finalizers": ["a.b/c"]}, "status": {}}
    async with kubernetes() as api:
        await api.create("pods", pod())
        await api.create(f"{APPS}/deployments", named(spec=SELECTS))
        of_pod = (await api.patch("pods/p/status", said))["metadata"]
        of_deployment = (await api.patch(f"{APPS}/deployments/x/status", said))["metadata"]
    assert of_pod["labels"] == {"c": "d"}
    assert "labels" not in of_deployment
    assert of_pod["finalizers"] == of_deployment["finalizers"] == ["a.b/c"]


async def test_daemon_sets_count_their_templates() -> None:
    name = "deprecated.daemonset.template.generation"
    async with kubernetes() as api:
        await api.create(f"{APPS}/daemonsets", named(spec=SELECTS))
        same = await api.patch(f"{APPS}/daemonsets/x", {"metadata": {"annotations": {"a": "b"}}})
        other = await api.patch(
            f"{APPS}/daemonsets/x", {"spec": {"template": {"metadata": {"annotations": {"a": "b"}}}}}
        )
    assert [item["metadata"]["annotations"][name] for item in (same, other)] == ["1", "2"]
