"""Queues and topologies of other schedulers as ours: numbers, reasons, and that a cluster takes what is made."""

from collections.abc import Iterable
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from quartermaster.api.definitions import manifests
from quartermaster.api.peers import kai, kueue, volcano
from quartermaster.api.peers.carrying import Carrying
from quartermaster.api.queues import queues_from
from quartermaster.api.topologies import topologies_from
from quartermaster.model.queue import UNLIMITED, QueueTree, Quota
from quartermaster.model.topology import Level
from quartermaster.model.units import GIB
from quartermaster.testing.kubernetes import Refused, kubernetes

Json = dict[str, Any]

KAI = """
apiVersion: scheduling.run.ai/v2
kind: Queue
metadata: {name: department}
spec:
  displayName: The department
  resources:
    gpu: {quota: -1, limit: -1, overQuotaWeight: 1}
    cpu: {quota: 2500, limit: -1}
    memory: {quota: 4096, limit: 8192, overQuotaWeight: 2}
---
apiVersion: scheduling.run.ai/v2
kind: Queue
metadata: {name: team, labels: {kai.scheduler/node-pool: a100}}
spec:
  parentQueue: department
  priority: 200
  preemptMinRuntime: 4h0m0s
  resources:
    gpu: {quota: 2.5, overQuotaWeight: 0.5, lendingLimit: 1}
    cpu: {quota: 4000, limit: 1000}
---
apiVersion: kai.scheduler/v1alpha1
kind: Topology
metadata: {name: fabric}
spec: {levels: [{nodeLabel: zone}, {nodeLabel: rack-label, alias: rack}]}
---
apiVersion: scheduling.run.ai/v2alpha2
kind: PodGroup
metadata: {name: pg-job, namespace: ml}
spec: {minMember: 2}
---
apiVersion: kai.scheduler/v1
kind: SchedulingShard
metadata: {name: default}
"""

VOLCANO = """
apiVersion: scheduling.volcano.sh/v1beta1
kind: Queue
metadata: {name: root}
---
apiVersion: scheduling.volcano.sh/v1beta1
kind: Queue
metadata: {name: org}
spec: {parent: root, weight: 4, capability: {nvidia.com/gpu: 16, memory: 64Gi}}
---
apiVersion: scheduling.volcano.sh/v1beta1
kind: Queue
metadata: {name: team}
spec:
  parent: org
  reclaimable: false
  priority: 5
  deserved: {nvidia.com/gpu: 4, nvidia.com/h100: 2, cpu: 1500m}
  guarantee: {resource: {nvidia.com/gpu: 6}}
  capability: {nvidia.com/gpu: 5}
  dequeueStrategy: fifo
status: {state: Closed}
---
apiVersion: topology.volcano.sh/v1alpha1
kind: HyperNode
metadata: {name: s0}
spec: {tier: 1, tierName: rack, members: [{type: Node, selector: {exactMatch: {name: n0}}}]}
---
apiVersion: topology.volcano.sh/v1alpha1
kind: HyperNode
metadata: {name: s1}
spec: {tier: 1, tierName: rack, members: [{type: Node, selector: {regexMatch: {pattern: "n[12]"}}}]}
---
apiVersion: topology.volcano.sh/v1alpha1
kind: HyperNode
metadata: {name: s2}
spec:
  tier: 2
  members:
    - {type: HyperNode, selector: {exactMatch: {name: s0}}}
    - {type: HyperNode, selector: {exactMatch: {name: s1}}}
"""
NODES = "".join(f"---\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\n" for name in ("n0", "n1", "n2", "m0"))

KUEUE = """
apiVersion: kueue.x-k8s.io/v1beta2
kind: ResourceFlavor
metadata: {name: h100}
spec: {nodeLabels: {nvidia.com/gpu.product: H100}}
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: ResourceFlavor
metadata: {name: spot}
spec: {nodeLabels: {pool: spot}}
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: Cohort
metadata: {name: division}
spec:
  fairSharing: {weight: "2.5"}
  resourceGroups:
    - coveredResources: [nvidia.com/gpu]
      flavors: [{name: spot, resources: [{name: nvidia.com/gpu, nominalQuota: 1}]}]
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: Cohort
metadata: {name: team}
spec: {parentName: division}
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: ClusterQueue
metadata: {name: team}
spec:
  cohortName: team
  preemption: {reclaimWithinCohort: Any, withinClusterQueue: LowerPriority}
  resourceGroups:
    - coveredResources: [cpu, nvidia.com/gpu, example.com/fpga]
      flavors:
        - name: h100
          resources:
            - {name: cpu, nominalQuota: 9500m}
            - {name: nvidia.com/gpu, nominalQuota: 8, borrowingLimit: 2}
            - {name: example.com/fpga, nominalQuota: 1}
        - name: spot
          resources:
            - {name: cpu, nominalQuota: "0.5"}
            - {name: nvidia.com/gpu, nominalQuota: 4, borrowingLimit: 1, lendingLimit: 2}
---
apiVersion: kueue.x-k8s.io/v1beta1
kind: ClusterQueue
metadata: {name: lone}
spec:
  stopPolicy: HoldAndDrain
  resourceGroups:
    - {coveredResources: [memory], flavors: [{name: spot, resources: [{name: memory, nominalQuota: 36Gi}]}]}
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: LocalQueue
metadata: {name: user-queue, namespace: ml}
spec: {clusterQueue: team}
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: LocalQueue
metadata: {name: default, namespace: a}
spec: {clusterQueue: team}
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: LocalQueue
metadata: {name: default, namespace: b}
spec: {clusterQueue: lone}
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: Topology
metadata: {name: dc}
spec: {levels: [{nodeLabel: block}, {nodeLabel: rack}]}
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: WorkloadPriorityClass
metadata: {name: high}
value: 1000
"""


def objects(text: str) -> list[Json]:
    return list(yaml.safe_load_all(text))


def tree(found: Carrying) -> QueueTree:
    queues = queues_from(value for value in found.manifests if value["kind"] == "Queue")
    assert not queues.problems
    return queues.tree


def losses(found: Carrying) -> list[str]:
    return [f"{one.source}: {lost}" for one in found.carried for lost in one.lost] + [
        f"{name}: {why}" for name, why in found.lost
    ]


def told(said: Iterable[str], *parts: str) -> bool:
    return any(all(part in line for part in parts) for line in said)


def test_kai_queues() -> None:
    found = kai.carry(objects(KAI))
    queues = tree(found)
    assert queues["department"].quotas == {
        "gpu": Quota(deserved=UNLIMITED),
        "cpu": Quota(deserved=2500, over_quota_weight=0),
        "memory": Quota(deserved=4096 * 10**6, limit=8192 * 10**6, over_quota_weight=2),
    }
    team = queues["team"]
    assert (team.parent, team.priority, team.preempt_min_runtime) == ("department", 200, 4 * 3600)
    assert team.quotas == {
        "gpu": Quota(deserved=2.5, limit=2.5, over_quota_weight=0.5),
        "cpu": Quota(deserved=1000, limit=1000, over_quota_weight=0),
        "memory": Quota(deserved=0, limit=0, over_quota_weight=0),
    }
    why = [line for one in found.carried for line in one.why]
    assert told(why, "gpu: limit 0, which KAI reads as nothing beyond the quota")
    assert told(why, "cpu: what is deserved is cut to the limit")
    assert told(why, "memory: quota and limit are 0")
    assert told(losses(found), "Queue team", "lendingLimit 1")
    assert told(losses(found), "Queue team", "node pool 'a100'")
    assert told(losses(found), "SchedulingShard default")
    assert found.kept == ["PodGroup ml/pg-job"]


def test_kai_topologies() -> None:
    made = [value for value in kai.carry(objects(KAI)).manifests if value["kind"] == "Topology"]
    (topology,) = topologies_from(made).topologies.values()
    assert topology.levels == (Level(label="zone"), Level(label="rack-label", alias="rack"))


def test_volcano_queues() -> None:
    found = volcano.carry(objects(VOLCANO))
    queues = tree(found)
    assert [queue.name for queue in queues] == ["org", "team"]
    org, team = queues["org"], queues["team"]
    assert (org.parent, org.priority) == (None, 0)
    assert org.quotas["gpu"] == Quota(limit=16, over_quota_weight=4)
    assert org.quotas["memory"] == Quota(limit=64 * GIB, over_quota_weight=4)
    assert org.quotas["cpu"] == Quota(deserved=UNLIMITED)
    assert (team.parent, team.priority, team.reclaim_min_runtime) == ("org", 5, 3650 * 86400)
    assert team.quotas["gpu"] == Quota(deserved=5, limit=5), "the guarantee, within the capability"
    assert team.quotas["cpu"] == Quota(deserved=1500)
    said = losses(found)
    for part in ("guarantee", "nvidia.com/h100", "Closed", "dequeueStrategy fifo"):
        assert told(said, "Queue team", part)
    assert told(said, "Queue root")


def test_volcano_hypernodes_become_levels_and_labels() -> None:
    found = volcano.carry(objects(VOLCANO + NODES))
    made = {value["metadata"]["name"]: value for value in found.manifests if value["kind"] != "Queue"}
    tiers = ("quartermaster.dev/hypernode-tier-2", "quartermaster.dev/hypernode-tier-1")
    (topology,) = topologies_from([made.pop("hypernodes")]).topologies.values()
    assert topology.levels == (Level(label=tiers[0]), Level(label=tiers[1], alias="rack"))
    assert {name: node["metadata"]["labels"] for name, node in made.items()} == {
        "n0": {tiers[1]: "s0", tiers[0]: "s2"},
        "n1": {tiers[1]: "s1", tiers[0]: "s2"},
        "n2": {tiers[1]: "s1", tiers[0]: "s2"},
    }
    without = volcano.carry(objects(VOLCANO))
    assert told(losses(without), "HyperNode s1", "give the Node objects too")


def test_kueue_queues() -> None:
    found = kueue.carry(objects(KUEUE))
    queues = tree(found)
    assert [(queue.name, queue.parent) for queue in queues] == [
        ("division", None),
        ("team-cohort", "division"),
        ("team", "team-cohort"),
        ("user-queue", "team"),
        ("default.team", "team"),
        ("lone", None),
        ("default.lone", "lone"),
    ]
    team = queues["team"]
    assert team.quotas["gpu"] == Quota(deserved=12, limit=15)
    assert team.quotas["gpu/H100"] == Quota(deserved=8, limit=10)
    assert team.quotas["cpu"] == Quota(deserved=10_000)
    division = queues["division"].quotas
    assert division["gpu"] == Quota(deserved=13, limit=13, over_quota_weight=2.5), "a cohort at the top borrows nowhere"
    assert queues["team-cohort"].quotas["gpu"] == Quota(deserved=12)
    assert queues["lone"].quotas["memory"] == Quota(deserved=36 * GIB, limit=36 * GIB)
    assert queues["user-queue"].quotas["gpu"] == Quota(deserved=UNLIMITED)
    said = losses(found)
    for parts in (
        ("ClusterQueue team", "example.com/fpga"),
        ("ClusterQueue team", "lendingLimit"),
        ("ClusterQueue lone", "HoldAndDrain"),
        ("ClusterQueue lone", "preemption.reclaimWithinCohort Never"),
        ("LocalQueue a/default", "read as default.team"),
        ("LocalQueue b/default", "read as default.lone"),
        ("ResourceFlavor spot", "pool=spot"),
        ("WorkloadPriorityClass high", "can be preempted"),
    ):
        assert told(said, *parts), parts
    assert not told(said, "ResourceFlavor h100")


def local(name: str, namespace: str, target: str) -> Json:
    metadata = {"name": name, "namespace": namespace}
    body = {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "LocalQueue", "metadata": metadata}
    return {**body, "spec": {"clusterQueue": target}}


def test_which_queue_a_local_queue_means() -> None:
    assert kueue.local_queues(objects(KUEUE)) == {
        ("ml", "user-queue"): "user-queue",
        ("a", "default"): "default.team",
        ("b", "default"): "default.lone",
    }
    own = [local("q", "a", "q"), local("q", "b", "q")]
    assert set(kueue.local_queues(own).values()) == {"q"}, "the cluster queue itself"
    more = kueue.local_queues([*own, local("other", "a", "q"), local("third", "a", "x"), local("x", "a", "q")])
    assert more == {
        ("a", "q"): "q.q",
        ("b", "q"): "q.q",
        ("a", "other"): "other",
        ("a", "third"): "third",
        ("a", "x"): "x.q",
    }


@pytest.mark.parametrize(
    ("carry", "text", "who", "said"),
    [
        (kai.carry, KAI.replace("quota: 2500", "quota: lots"), "Queue department", "spec.resources.cpu.quota: 'lots'"),
        (kai.carry, KAI.replace("quota: 2500", "quota: -2"), "Queue department", "is -2"),
        (kai.carry, KAI.replace("4h0m0s", "soon"), "Queue team", "spec.preemptMinRuntime"),
        (kai.carry, KAI.replace("nodeLabel: zone", "label: zone"), "Topology fabric", "nodeLabel"),
        (volcano.carry, VOLCANO.replace("1500m", "x"), "Queue team", "spec.deserved.cpu: 'x'"),
        (volcano.carry, VOLCANO.replace("tier: 2", "tier: top"), "HyperNode s2", "top"),
        (volcano.carry, VOLCANO.replace('"n[12]"', '"n["') + NODES, "HyperNode s1", "cannot be read"),
        (kueue.carry, KUEUE.replace("36Gi", "36Q"), "ClusterQueue lone", "memory.nominalQuota: '36Q'"),
        (kueue.carry, KUEUE.replace("36Gi", "36Q"), "LocalQueue b/default", "no ClusterQueue 'lone'"),
        (kueue.carry, KUEUE.replace('"2.5"', "much"), "Cohort division", "spec.fairSharing.weight"),
    ],
)
def test_what_cannot_be_read_is_told_and_leaves_the_others_alone(carry: Any, text: str, who: str, said: str) -> None:
    found = carry(objects(text))
    assert told(losses(found), who, said), losses(found)
    assert found.carried


_ANYTHING = st.recursive(
    st.none() | st.integers(-1, 3) | st.sampled_from(["x", "1Gi", "default"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=3,
)


@pytest.mark.parametrize(("carry", "text"), [(kai.carry, KAI), (volcano.carry, VOLCANO + NODES), (kueue.carry, KUEUE)])
@given(data=st.data())
def test_no_object_whatever_is_in_it_breaks_the_others(carry: Any, text: str, data: st.DataObject) -> None:
    """One field anywhere in a spec becomes something else."""
    given_ = objects(text)
    whole = data.draw(st.sampled_from(given_))
    at = whole
    if "spec" in whole:
        at = whole["spec"]
        while data.draw(st.booleans()):
            inner = [value for value in (at.values() if isinstance(at, dict) else at) if isinstance(value, dict | list)]
            if not inner:
                break
            at = data.draw(st.sampled_from(inner))
        if at:
            place = data.draw(st.sampled_from(list(at) if isinstance(at, dict) else range(len(at))))
            at[place] = data.draw(_ANYTHING)
    else:
        whole["spec"] = data.draw(_ANYTHING)
    found = carry(given_)
    assert found.carried
    queues_from(value for value in found.manifests if value["kind"] == "Queue")


@pytest.mark.parametrize(("carry", "text"), [(kai.carry, KAI), (volcano.carry, VOLCANO + NODES), (kueue.carry, KUEUE)])
async def test_a_cluster_takes_what_is_made(carry: Any, text: str) -> None:
    async with kubernetes() as api:
        for manifest in manifests():
            await api.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", manifest)
        for value in carry(objects(text)).manifests:
            path = {
                "Queue": "/apis/quartermaster.dev/v1alpha1/queues",
                "Topology": "/apis/quartermaster.dev/v1alpha1/topologies",
                "PriorityClass": "/apis/scheduling.k8s.io/v1/priorityclasses",
                "Node": "/api/v1/nodes",
            }[value["kind"]]
            try:
                await api.create(path, value)
            except Refused as no:
                pytest.fail(f"{value}: {no}")
