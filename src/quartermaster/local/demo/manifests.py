"""The parts of a day as objects that people submit: Jobs, CronJobs, Deployments, StatefulSets, and the pods of Argo.

A gang is an Indexed Job with a subdomain, by which its pods find each other as `torchrun` has them, and the governing
Service for it. Some Jobs are written for KAI, Volcano or Kueue, as their users have them. Pipeline steps are plain
pods, as Argo Workflows makes them: its controller is not here, so `submitting.py` does that part.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from quartermaster.api.pods import FRACTION
from quartermaster.kube.api import Json
from quartermaster.local.demo.day import Day, Job, Notebooks, Queue, Schedule, Service, Step, Work
from quartermaster.local.fleet import marks
from quartermaster.local.fleet.counts import MIG

NAMESPACE: Final = "demo"
KIND: Final = marks.OURS + "demo"
"""On every pod of the day, a label: job, schedule, notebook, service or pipeline."""
NAME: Final = "app.kubernetes.io/name"
HOUR: Final = 3600.0

_CORE, _APPS, _BATCH, _POLICY = (
    f"/{group}/namespaces/{NAMESPACE}" for group in ("api/v1", "apis/apps/v1", "apis/batch/v1", "apis/policy/v1")
)


@dataclass(frozen=True, slots=True)
class Submission:
    """An object to be made, and the collection that it goes to."""

    path: str
    body: Json

    @property
    def name(self) -> str:
        """Of all submissions of a day, no two have the same."""
        return f"{self.path}/{self.body['metadata']['name']}"


def due(day: Day, hours: float) -> list[Submission]:
    """All that lasts and has been submitted up to `hours` since the day began."""
    found = [queue(each) for each in day.queues]
    found += [part for each in day.jobs if each.at <= hours for part in job(each)]
    found += [schedule(each) for each in day.schedules]
    found += [part for each in day.services for part in service(each)]
    return found + [part for user in day.notebooks.users for part in notebook(day.notebooks, user)]


def due_steps(day: Day, hours: float, phases: dict[str, str]) -> list[Submission]:
    """Pods of pipelines whose predecessors have succeeded. `phases` of the pods that there are, by name."""
    return [
        step(f"{pipeline.name}-{run}", each)
        for pipeline in day.pipelines
        for run in range(int(hours / pipeline.every) + 1)
        for each in pipeline.steps
        if all(phases.get(f"{pipeline.name}-{run}-{name}") == "Succeeded" for name in each.after)
    ]


def sizes(day: Day, hours: float) -> dict[str, int]:
    """How many replicas there should be, by the path of the subresource that says it."""
    books = day.notebooks
    open_now = {user: books.begins(user) <= hours < books.begins(user) + books.hours for user in books.users}
    found = {f"{_APPS}/statefulsets/notebook-{user}/scale": int(is_open) for user, is_open in open_now.items()}
    return found | {f"{_APPS}/deployments/{each.name}/scale": each.size(hours) for each in day.services}


def job(each: Job) -> list[Submission]:
    """A Job; a gang's pods say so, and can find each other."""
    told = _marks(each)
    spec: Json = {
        "parallelism": each.pods,
        "completions": each.pods,
        "backoffLimit": each.retries,
        "template": _work(each, "job", labels=told.on_pods, notes=told.beside),
    }
    spec |= {"completionMode": "Indexed"} if each.pods > 1 else {}
    if told.scheduler:
        spec["template"]["spec"]["schedulerName"] = told.scheduler
    made = _submission(_BATCH, "Job", each.name, spec)
    made.body["metadata"]["labels"] |= told.labels
    made.body["metadata"] |= {"annotations": told.notes} if told.notes else {}
    if not each.gang:
        return [made]
    spec["template"]["spec"]["subdomain"] = each.name
    return [_governing(each.name, 29500), made]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Marks:
    """By what a Job tells a scheduler of its queue and its gang: on itself, and on its pods."""

    scheduler: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    on_pods: dict[str, str] = field(default_factory=dict)
    beside: dict[str, str] = field(default_factory=dict)
    """Annotations of its pods."""


def _marks(each: Job) -> _Marks:
    """As the documentation of each scheduler has it for a Job of Kubernetes."""
    size = str(each.pods)
    if each.written == "kai":
        queue = {"kai.scheduler/queue": each.queue}
        notes = {"kai.scheduler/batch-min-member": size} if each.gang else {}
        return _Marks(scheduler="kai-scheduler", labels=queue, notes=notes, on_pods=queue)
    if each.written == "volcano":
        notes = {"scheduling.volcano.sh/group-min-member": size} if each.gang else {}
        queue = {"scheduling.volcano.sh/queue-name": each.queue}
        return _Marks(scheduler="volcano", notes=notes | queue, beside=queue)
    if each.written == "kueue":
        return _Marks(labels={"kueue.x-k8s.io/queue-name": each.queue})
    return _Marks()


def queue(each: Queue) -> Submission:
    """A Queue of ours."""
    version = "quartermaster.dev/v1alpha1"
    quota = {"deserved": each.gpus, "weight": each.weight}
    body = {"apiVersion": version, "kind": "Queue", "metadata": {"name": each.name}, "spec": {"gpu": quota}}
    return Submission(f"/apis/{version}/queues", body)


def schedule(each: Schedule) -> Submission:
    """A CronJob."""
    template = {"spec": {"backoffLimit": 0, "template": _work(each, "schedule")}}
    spec = {"schedule": each.cron, "concurrencyPolicy": "Forbid", "jobTemplate": template}
    return _submission(_BATCH, "CronJob", each.name, spec)


def service(each: Service) -> list[Submission]:
    """A Deployment, closed until it is scaled, what finds its pods, and what spares them."""
    template = _template(
        each.name,
        "service",
        each.image,
        {"cpu": str(each.cpu), "memory": each.memory, each.resource: "1"},
        notes={marks.LOAD: f"{each.load}", marks.READY_SECONDS: "40"},
        restart="Always",
    )
    selector = {"matchLabels": {NAME: each.name}}
    return [
        _submission(_APPS, "Deployment", each.name, {"replicas": 0, "selector": selector, "template": template}),
        _submission(_CORE, "Service", each.name, {"selector": {NAME: each.name}, "ports": [{"port": 8000}]}),
        _submission(_POLICY, "PodDisruptionBudget", each.name, {"maxUnavailable": "25%", "selector": selector}),
    ]


def notebook(books: Notebooks, user: str) -> list[Submission]:
    """A StatefulSet of one, closed until its user comes, and its governing service."""
    name = f"notebook-{user}"
    template = _template(
        name,
        "notebook",
        books.image,
        {"cpu": str(books.cpu), "memory": books.memory},
        notes={FRACTION: books.fraction, marks.LOAD: f"{books.load}"},
        selector={"nvidia.com/gpu.product": "NVIDIA-L40S"},
        restart="Always",
    )
    labels = {NAME: name}
    spec = {"replicas": 0, "serviceName": name, "selector": {"matchLabels": labels}, "template": template}
    return [_submission(_APPS, "StatefulSet", name, spec), _governing(name, 8888)]


def step(run: str, each: Step) -> Submission:
    """A pod of a pipeline's run."""
    name = f"{run}-{each.name}"
    made = _work(each, "pipeline", name=name, labels={"app.kubernetes.io/part-of": run})
    body = {"apiVersion": "v1", "kind": "Pod", **made, "metadata": {"name": name, **made["metadata"]}}
    return Submission(f"{_CORE}/pods", body)


def _governing(name: str, port: int) -> Submission:
    """The headless Service under which pods have names of their own."""
    spec = {"clusterIP": "None", "selector": {NAME: name}, "ports": [{"port": port}]}
    return _submission(_CORE, "Service", name, spec)


def _submission(base: str, kind: str, name: str, spec: Json) -> Submission:
    version = base.removeprefix("/apis/").removeprefix("/api/").removesuffix(f"/namespaces/{NAMESPACE}")
    body = {"apiVersion": version, "kind": kind, "metadata": {"name": name, "labels": {NAME: name}}, "spec": spec}
    return Submission(f"{base}/{kind.lower()}s", body)


def _work(
    work: Work,
    kind: str,
    *,
    name: str = "",
    labels: dict[str, str] | None = None,
    notes: dict[str, str] | None = None,
) -> Json:
    requests = {"cpu": str(work.cpu), "memory": work.memory}
    requests |= {marks.WHOLE_GPU: str(work.gpus)} if work.gpus else {}
    annotations = {
        marks.RUN_SECONDS: f"{work.hours * HOUR:.0f}",
        marks.LOAD: f"{work.load}",
        marks.READY_SECONDS: f"{work.ready_seconds}",
        marks.OUTCOME: work.outcome,
    }
    return _template(name or work.name, kind, work.image, requests, notes=annotations | (notes or {}), labels=labels)


def _template(
    name: str,
    kind: str,
    image: str,
    requests: dict[str, str],
    *,
    notes: dict[str, str],
    labels: dict[str, str] | None = None,
    selector: dict[str, str] | None = None,
    restart: str = "Never",
) -> Json:
    limits = {key: value for key, value in requests.items() if "/" in key}
    container = {"name": "main", "image": image, "resources": {"requests": requests, "limits": limits}}
    spec: dict[str, Any] = {"restartPolicy": restart, "containers": [container]}
    spec |= {"nodeSelector": selector} if selector else {}
    if FRACTION in notes or any(name.startswith(MIG) for name in requests):
        # The resource by which the nodes' taint is called is not among its requests, so no admission adds this.
        spec["tolerations"] = [{"key": marks.WHOLE_GPU, "operator": "Exists"}]
    return {"metadata": {"labels": {KIND: kind, NAME: name} | (labels or {}), "annotations": notes}, "spec": spec}
