"""A live pod and its owners: which group, which role, and what happens when something is missing, odd or forged."""

from typing import Any

import pytest

from quartermaster.workloads.group import Group, Member
from quartermaster.workloads.members import membership
from tests.unit.workloads.live import Json, made, pod, reference
from tests.unit.workloads.samples import find

PYTORCH = made(
    "kubeflow.org/v1", "PyTorchJob", "train", {"pytorchReplicaSpecs": {"Master": {}, "Worker": {"replicas": 3}}}
)
LWS: Json = {"replicas": 2, "leaderWorkerTemplate": {"size": 3, "workerTemplate": {}}}


def worker(owner: Json, name: str = "train-worker-1", **more: Any) -> Json:
    labels = {"training.kubeflow.org/replica-type": "worker", "training.kubeflow.org/replica-index": "1"}
    return pod(name, by=owner, labels=labels, **more)


def said(member: Member) -> tuple[str, str, int, int, tuple[str, ...]]:
    group = member.group
    return group.kind, group.name, group.min, group.desired, member.role


def why(group: Group) -> str:
    return "; ".join(group.why)


# ---- known kinds


def test_a_training_job() -> None:
    member = membership(worker(PYTORCH), [PYTORCH])
    assert said(member) == ("PyTorchJob", "train", 4, 4, ("worker",))
    assert (member.index, member.phase, member.group.uid) == (1, 1, PYTORCH["metadata"]["uid"])


def test_pods_of_a_deployment_are_each_on_their_own() -> None:
    deployment = made("apps/v1", "Deployment", "web", {"replicas": 2}, labels={"quartermaster.dev/queue": "q"})
    rs = made("apps/v1", "ReplicaSet", "web-1", {"replicas": 2}, by=deployment)
    one, other = (membership(pod(name, by=rs), [rs, deployment]).group for name in ("web-a", "web-b"))
    assert (one.kind, one.name, one.min, one.queue) == ("Pod", "web-a", 1, "q")
    assert one.key != other.key
    assert one.priority_class == "inference"


def test_a_job_of_a_jobset_of_a_trainjob() -> None:
    train = made("trainer.kubeflow.org/v1alpha1", "TrainJob", "t", labels={"kueue.x-k8s.io/queue-name": "q"})
    jobs = [{"name": "node", "replicas": 2, "template": {"spec": {"parallelism": 2}}}]
    jobset = made("jobset.x-k8s.io/v1alpha2", "JobSet", "t", {"replicatedJobs": jobs}, by=train)
    job = made("batch/v1", "Job", "t-node-1", {"parallelism": 2}, by=jobset)
    prefix = "jobset.sigs.k8s.io/"
    one = pod("p", by=job, labels={prefix + "replicatedjob-name": "node", prefix + "job-index": "1"})
    member = membership(one, [job, jobset, train])
    assert said(member) == ("JobSet", "t", 4, 4, ("node", "1"))
    assert member.group.queue == "q"


def test_phases_of_a_jobset() -> None:
    jobs = [{"name": "a", "template": {}}, {"name": "b", "template": {}, "dependsOn": [{"name": "a"}]}]
    jobset = made("jobset.x-k8s.io/v1alpha2", "JobSet", "j", {"replicatedJobs": jobs})
    job = made("batch/v1", "Job", "j-b-0", by=jobset)
    member = membership(pod("p", by=job, labels={"jobset.sigs.k8s.io/replicatedjob-name": "b"}), [job, jobset])
    assert (said(member), member.phase) == (("JobSet", "j-b", 1, 1, ("b",)), 2)


def test_jobs_that_are_gangs_of_their_own() -> None:
    scheduling = {"replicatedJobs": [{"targetReplicatedJobs": ["w"], "job": {"schedulingPolicy": {"gang": {}}}}]}
    jobs = [{"name": "w", "replicas": 3, "template": {"spec": {"parallelism": 2}}}]
    spec = {"scheduling": scheduling, "replicatedJobs": jobs}
    jobset = made("jobset.x-k8s.io/v1alpha2", "JobSet", "j", spec)
    job = made("batch/v1", "Job", "j-w-2", by=jobset)
    prefix = "jobset.sigs.k8s.io/"
    one = pod("p", by=job, labels={prefix + "replicatedjob-name": "w", prefix + "job-index": "2"})
    assert said(membership(one, [job, jobset])) == ("JobSet", "j-2", 2, 2, ("w",))


def test_leader_and_workers() -> None:
    lws = made("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", "l", LWS)
    sts = made("apps/v1", "StatefulSet", "l", by=lws)
    prefix = "leaderworkerset.sigs.k8s.io/"
    leader = pod("l-1", by=sts, labels={prefix + "group-index": "1", prefix + "worker-index": "0"})
    inner = made("apps/v1", "StatefulSet", "l-1", by=leader)
    other = pod("l-1-2", by=inner, labels={prefix + "group-index": "1", prefix + "worker-index": "2"})
    first, second = membership(leader, [sts, lws]), membership(other, [inner, leader, sts, lws])
    assert said(first) == ("LeaderWorkerSet", "l-1", 3, 3, ("leader",))
    assert said(second) == ("LeaderWorkerSet", "l-1", 3, 3, ("worker",))
    assert first.group.key == second.group.key
    assert second.index == 1


def test_workers_that_wait_for_their_leader() -> None:
    lws = made("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", "l", {**LWS, "startupPolicy": "LeaderReady"})
    sts = made("apps/v1", "StatefulSet", "l", by=lws)
    prefix = "leaderworkerset.sigs.k8s.io/"
    other = pod("l-1-2", by=sts, labels={prefix + "group-index": "1", prefix + "worker-index": "2"})
    member = membership(other, [sts, lws])
    assert (said(member), member.phase) == (("LeaderWorkerSet", "l-1-workers", 2, 2, ("worker",)), 2)


def test_slices_of_a_disaggregated_set() -> None:
    roles = [{"name": name, "spec": {"replicas": 2, "leaderWorkerTemplate": {"size": 2}}} for name in ("p", "d")]
    top = made("disaggregatedset.x-k8s.io/v1", "DisaggregatedSet", "s", {"slices": 2, "roles": roles})
    labels = {"disaggregatedset.x-k8s.io/role": "d", "disaggregatedset.x-k8s.io/slice": "1"}
    lws = made("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", "s-1-d", LWS, by=top, labels=labels)
    sts = made("apps/v1", "StatefulSet", "s-1-d", by=lws)
    prefix = "leaderworkerset.sigs.k8s.io/"
    one = pod("x", by=sts, labels={prefix + "group-index": "1", prefix + "worker-index": "1"})
    assert said(membership(one, [sts, lws, top])) == ("DisaggregatedSet", "s-1", 4, 8, ("d", "1"))


def test_ray_and_who_submits_to_it() -> None:
    spec = {"headGroupSpec": {}, "workerGroupSpecs": [{"groupName": "w", "replicas": 2}]}
    rayjob = made("ray.io/v1", "RayJob", "r", {"rayClusterSpec": spec}, labels={"kai.scheduler/queue": "q"})
    cluster = made("ray.io/v1", "RayCluster", "r-x", spec, by=rayjob)
    job = made("batch/v1", "Job", "r", by=rayjob)
    head = membership(pod("h", by=cluster, labels={"ray.io/node-type": "head"}), [cluster, rayjob])
    one = membership(pod("w", by=cluster, labels={"ray.io/group": "w"}), [cluster, rayjob])
    submits = membership(pod("s", by=job), [job, rayjob])
    assert said(head) == ("RayCluster", "r-x", 3, 3, ("headgroup",))
    assert said(one) == ("RayCluster", "r-x", 3, 3, ("w",))
    assert (submits.group.min, submits.group.queue) == (1, "q")
    assert submits.group.key != head.group.key


def test_the_two_clusters_of_a_service_that_is_upgraded_are_two_gangs() -> None:
    service = made("ray.io/v1", "RayService", "s")
    clusters = [made("ray.io/v1", "RayCluster", name, {"headGroupSpec": {}}, by=service) for name in ("s-a", "s-b")]
    keys = {membership(pod("h", by=cluster), [cluster, service]).group.key for cluster in clusters}
    assert len(keys) == 2


def test_a_launcher_that_is_a_job() -> None:
    specs = {"mpiReplicaSpecs": {"Launcher": {}, "Worker": {"replicas": 2}}}
    mpi = made("kubeflow.org/v2beta1", "MPIJob", "m", specs)
    job = made("batch/v1", "Job", "m-launcher", by=mpi)
    launcher = membership(pod("l", by=job, labels={"training.kubeflow.org/job-role": "launcher"}), [job, mpi])
    other = membership(pod("w", by=mpi, labels={"training.kubeflow.org/job-role": "worker"}), [mpi])
    assert said(launcher) == ("MPIJob", "m", 3, 3, ("launcher",))
    assert said(other) == ("MPIJob", "m", 3, 3, ("worker",))


def test_a_spark_application() -> None:
    app = made("sparkoperator.k8s.io/v1beta2", "SparkApplication", "s", {"executor": {"instances": 4}})
    driver = pod("d", by=app, labels={"spark-role": "driver", "spark-app-selector": "x"})
    executor = pod("e", by=driver, labels={"spark-role": "executor", "spark-app-selector": "x", "spark-exec-id": "2"})
    assert said(membership(driver, [app])) == ("SparkApplication", "s", 1, 5, ("driver",))
    assert said(membership(executor, [driver, app])) == ("SparkApplication", "s", 1, 5, ("executor",))


def test_spark_without_an_application() -> None:
    driver = pod("d", labels={"spark-role": "driver", "spark-app-selector": "x"})
    executor = pod("e", by=driver, labels={"spark-role": "executor", "spark-app-selector": "x"})
    first, second = membership(driver), membership(executor, [driver])
    assert first.group.key == second.group.key
    assert first.group.min == 1


def test_grove_gangs() -> None:
    template = {
        "cliques": [{"name": "front", "spec": {}}, {"name": "lead", "spec": {}}],
        "podCliqueScalingGroups": [{"name": "sg", "cliqueNames": ["lead"], "replicas": 2}],
    }
    top = made("grove.io/v1alpha1", "PodCliqueSet", "g", {"template": template})
    clique = made("grove.io/v1alpha1", "PodClique", "g-0-sg-1-lead", by=top)
    labels = {"podgang": "g-0-sg-0", "podclique": "g-0-sg-1-lead", "podcliqueset-replica-index": "0"}
    one = pod("x", by=clique, labels={f"grove.io/{key}": value for key, value in labels.items()})
    member = membership(one, [clique, top])
    assert (said(member), member.phase) == (("PodCliqueSet", "g-0-sg-0", 1, 1, ("lead",)), 2)
    labels = {"podgang": "g-0", "podclique": "g-0-front", "podcliqueset-replica-index": "0"}
    base = pod("y", by=clique, labels={f"grove.io/{key}": value for key, value in labels.items()})
    assert said(membership(base, [clique, top])) == ("PodCliqueSet", "g-0", 2, 2, ("front",))


def test_steps_of_a_workflow_and_what_they_create() -> None:
    flow = made("argoproj.io/v1alpha1", "Workflow", "f", labels={"quartermaster.dev/queue": "q"})
    step = membership(pod("f-1", by=flow), [flow])
    assert (said(step)[:3], step.group.queue) == (("Pod", "f-1", 1), "q")
    job = made("kubeflow.org/v1", "PyTorchJob", "t", PYTORCH["spec"], by=flow)
    assert said(membership(worker(job), [job, flow])) == ("PyTorchJob", "t", 4, 4, ("worker",))


def test_a_trial() -> None:
    experiment = made("kubeflow.org/v1beta1", "Experiment", "e")
    trial = made("kubeflow.org/v1beta1", "Trial", "e-1", by=experiment)
    job = made("kubeflow.org/v1", "PyTorchJob", "e-1", PYTORCH["spec"], by=trial)
    assert said(membership(worker(job), [job, trial, experiment]))[:3] == ("PyTorchJob", "e-1", 4)


# ---- what is unknown, missing or forged


def test_an_unknown_wrapper_swallows_no_gang() -> None:
    wrapper = made("example.com/v1", "Wrapper", "w", labels={"kueue.x-k8s.io/queue-name": "q"})
    job = made("kubeflow.org/v1", "PyTorchJob", "t", PYTORCH["spec"], by=wrapper)
    member = membership(worker(job), [job, wrapper])
    assert (said(member), member.group.queue) == (("PyTorchJob", "t", 4, 4, ("worker",)), "q")


def test_nor_does_a_known_kind_that_merely_owns_it() -> None:
    notebook = made("kubeflow.org/v1", "Notebook", "n")
    job = made("kubeflow.org/v1", "PyTorchJob", "t", PYTORCH["spec"], by=notebook)
    assert said(membership(worker(job), [job, notebook]))[:3] == ("PyTorchJob", "t", 4)


def test_pods_of_an_unknown_owner_are_taken_together() -> None:
    owner = made("example.com/v1", "Trainer", "t")
    one, other = (membership(pod(name, by=owner), [owner]).group for name in ("a", "b"))
    assert one.key == other.key == "ns/Trainer/t/uid-trainer-t"
    assert one.open
    assert "not a kind that is known" in why(one)
    assert "quartermaster.dev/min-member" in why(one)


def test_unless_the_owner_says_how_many_are_needed() -> None:
    owner = made("example.com/v1", "Trainer", "t", annotations={"quartermaster.dev/min-member": "5"})
    group = membership(pod("a", by=owner), [owner]).group
    assert (group.open, group.min) == (False, 5)


def test_or_it_looks_like_a_training_job() -> None:
    spec = {"fooReplicaSpecs": {"Worker": {"replicas": 6, "template": {}}}}
    owner = made("example.com/v1", "Trainer", "t", spec)
    assert said(membership(worker(owner), [owner])) == ("Trainer", "t", 6, 6, ("worker",))


def test_an_owner_that_is_not_there() -> None:
    jobset = made("jobset.x-k8s.io/v1alpha2", "JobSet", "j")
    job = made("batch/v1", "Job", "j-a-0", {"parallelism": 1}, by=jobset)
    group = membership(pod("p", by=job), [job]).group
    assert (group.kind, group.name, group.open) == ("JobSet", "j", True)
    assert "the JobSet j is not here" in why(group)
    for api, kind in (("apps/v1", "ReplicaSet"), ("v1", "Node"), ("argoproj.io/v1alpha1", "Workflow")):
        assert said(membership(pod("p", by=made(api, kind, "r"))))[:2] == ("Pod", "p")


def test_a_leader_worker_set_says_enough_without_what_made_it() -> None:
    top = made("disaggregatedset.x-k8s.io/v1", "DisaggregatedSet", "s")
    lws = made("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", "l", LWS, by=top)
    sts = made("apps/v1", "StatefulSet", "l", by=lws)
    prefix = "leaderworkerset.sigs.k8s.io/"
    leader = pod("l-1", by=sts, labels={prefix + "group-index": "1", prefix + "worker-index": "0"})
    assert said(membership(leader, [sts, lws])) == ("LeaderWorkerSet", "l-1", 3, 3, ("leader",))


def test_a_second_owner_reference_confuses_nobody() -> None:
    native = made("scheduling.k8s.io/v1beta1", "PodGroup", "g", {"schedulingPolicy": {"basic": {}}})
    one = worker(PYTORCH)
    one["metadata"]["ownerReferences"].insert(0, reference(native, controller=False))
    assert said(membership(one, [PYTORCH]))[:3] == ("PyTorchJob", "train", 4)


@pytest.mark.parametrize("field", ["uid", "kind", "apiVersion"])
def test_a_reference_that_is_not_true_leads_nowhere(field: str) -> None:
    one = worker(PYTORCH)
    one["metadata"]["ownerReferences"][0][field] = "example.com/other"
    assert membership(one, [PYTORCH]).group.uid != PYTORCH["metadata"]["uid"] or field != "uid"
    assert membership(one, [PYTORCH]).group.open


def test_a_circle_of_owners_ends() -> None:
    a = made("example.com/v1", "A", "a")
    b = made("example.com/v1", "B", "b", by=a)
    a["metadata"]["ownerReferences"] = [reference(b)]
    assert membership(pod("p", by=a), [a, b, a, b]).group.name == "a"


def test_an_owner_that_cannot_be_read_keeps_its_pods_together() -> None:
    broken = made("kubeflow.org/v1", "PyTorchJob", "t", {"pytorchReplicaSpecs": {"Worker": {"replicas": "many"}}})
    group = membership(worker(broken), [broken]).group
    assert (group.name, group.open) == ("t", True)
    assert "spec.pytorchReplicaSpecs.Worker.replicas: 'many' is no count" in why(group)


def test_labels_do_not_move_a_pod_to_another_owner() -> None:
    other = made("kubeflow.org/v1", "PyTorchJob", "other", PYTORCH["spec"])
    one = worker(other)
    one["metadata"]["labels"] |= {"training.kubeflow.org/job-name": "train", "kueue.x-k8s.io/pod-group-name": "train"}
    assert membership(one, [other]).group.uid == other["metadata"]["uid"]


def test_a_pod_that_fits_no_role_is_still_in_the_group() -> None:
    member = membership(pod("x", by=PYTORCH), [PYTORCH])
    assert said(member) == ("PyTorchJob", "train", 4, 4, ())


# ---- groups that pods name

KAI = made(
    "scheduling.run.ai/v2alpha2",
    "PodGroup",
    "pg",
    {"minMember": 3, "queue": "q", "subGroups": [{"name": "s", "minMember": 3}]},
)


def kai_pod(name: str, *, by: Json | None = None) -> Json:
    labels = {"kai.scheduler/subgroup-name": "s"}
    return pod(name, by=by, annotations={"pod-group-name": "pg"}, labels=labels)


def test_a_pod_group_that_pods_name() -> None:
    job = made("batch/v1", "Job", "j", {"parallelism": 3})
    member = membership(kai_pod("a", by=job), [job], lookup=find((KAI,)))
    assert said(member) == ("PodGroup", "pg", 3, 3, ("s",))
    assert member.group.queue == "q"
    assert member.group.key == membership(kai_pod("b"), lookup=find((KAI,))).group.key


def test_one_that_is_not_there_leaves_them_to_their_owner() -> None:
    group = membership(kai_pod("a", by=PYTORCH), [PYTORCH]).group
    assert (group.kind, group.min) == ("PyTorchJob", 4)
    assert "is not here" in why(group)
    alone = membership(kai_pod("a")).group
    assert (alone.name, alone.open) == ("pg", True)


def test_one_of_another_owner_is_not_joined() -> None:
    owned = {**KAI, "metadata": {**KAI["metadata"], "ownerReferences": [reference(PYTORCH)]}}
    group = membership(kai_pod("intruder"), lookup=find((owned,))).group
    assert (group.kind, group.name) == ("Pod", "intruder")
    assert "belongs to another owner" in why(group)


def test_one_that_another_scheduler_made_for_this_owner_adds_nothing() -> None:
    owned = {**KAI, "metadata": {**KAI["metadata"], "ownerReferences": [reference(PYTORCH)]}}
    one = worker(PYTORCH, annotations={"pod-group-name": "pg"})
    assert said(membership(one, [PYTORCH], lookup=find((owned,)))) == ("PyTorchJob", "train", 4, 4, ("worker",))


@pytest.mark.parametrize(
    ("group", "marks", "spec"),
    [
        (
            ("scheduling.volcano.sh/v1beta1", {"minMember": 2}),
            {"annotations": {"scheduling.k8s.io/group-name": "g"}},
            {},
        ),
        (("scheduling.x-k8s.io/v1alpha1", {"minMember": 2}), {"labels": {"scheduling.x-k8s.io/pod-group": "g"}}, {}),
        (
            ("scheduling.k8s.io/v1beta1", {"schedulingPolicy": {"gang": {"minCount": 2}}}),
            {},
            {"schedulingGroup": {"podGroupName": "g"}},
        ),
    ],
)
def test_groups_of_every_api(group: tuple[str, Json], marks: Json, spec: Json) -> None:
    value = made(group[0], "PodGroup", "g", group[1])
    member = membership(pod("a", spec=spec, **marks), lookup=find((value,)))
    assert said(member) == ("PodGroup", "g", 2, 2, ("pods",))


def test_an_early_workload_of_kubernetes() -> None:
    spec = {"podGroups": [{"name": "x", "policy": {"gang": {"minCount": 4}}}]}
    value = made("scheduling.k8s.io/v1alpha1", "Workload", "w", spec)
    one = pod("a", spec={"workloadRef": {"name": "w", "podGroup": "x"}})
    assert said(membership(one, lookup=find((value,)))) == ("PodGroup", "w-x", 4, 4, ("pods",))
    one["spec"]["workloadRef"]["podGroupReplicaKey"] = "7"  # each replica is a gang
    assert said(membership(one, lookup=find((value,))))[1] == "w-x-7"


def test_kueue_groups_are_for_pods_without_an_owner() -> None:
    marks: Json = {
        "labels": {"kueue.x-k8s.io/pod-group-name": "g"},
        "annotations": {"kueue.x-k8s.io/pod-group-total-count": "3"},
    }
    assert said(membership(pod("a", **marks)))[:3] == ("PodGroup", "g", 3)
    sts = made("apps/v1", "StatefulSet", "s", {"replicas": 3})
    assert said(membership(pod("s-0", by=sts, **marks), [sts])) == ("StatefulSet", "s", 1, 3, ("main",))


def test_our_own_group() -> None:
    marks: Json = {"labels": {"quartermaster.dev/pod-group": "g"}}
    group = membership(pod("a", **marks)).group
    assert (group.name, group.open) == ("g", True)
    marks["annotations"] = {"quartermaster.dev/min-member": "2"}
    group = membership(pod("a", **marks)).group
    assert (group.name, group.open, group.min) == ("g", False, 2)
