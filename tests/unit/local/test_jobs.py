"""Jobs and CronJobs end to end: counted once, retried, limited, suspended, scheduled."""

from datetime import UTC, datetime
from typing import Any

import pytest

from quartermaster.local.controllers.indexes import parse, text
from quartermaster.local.controllers.schedules import Schedule
from quartermaster.testing.controllers import BATCH, Controlled, controlled

Json = dict[str, Any]
JOB = f"{BATCH}/jobs/j"


def job(name: str = "j", *, restart: str = "Never", **spec: Any) -> Json:
    template = {"spec": {"restartPolicy": restart, "containers": [{"name": "main", "image": "image"}]}}
    return {"metadata": {"name": name}, "spec": {"template": template, **spec}}


async def pods(cluster: Controlled, phase: str = "Running") -> list[Json]:
    found = (await cluster.get("pods"))["items"]
    return [
        pod for pod in found if pod["status"].get("phase") == phase and not pod["metadata"].get("deletionTimestamp")
    ]


async def end(cluster: Controlled, phase: str, count: int = 1, **more: Any) -> None:
    for pod in (await pods(cluster))[:count]:
        await cluster.kubelet.say(pod, phase, **more)
    await cluster.settle()


async def conditions(cluster: Controlled, path: str = JOB) -> list[tuple[str, str, str]]:
    listed = (await cluster.get(path))["status"].get("conditions", [])
    return [(item["type"], item["status"], item["reason"]) for item in listed]


def exited(code: int) -> list[Json]:
    state = {"terminated": {"exitCode": code, "reason": "Error"}}
    return [{"name": "main", "image": "image", "imageID": "", "ready": False, "restartCount": 0, "state": state}]


async def test_a_job_runs_until_enough_have_succeeded() -> None:
    async with controlled("n1") as cluster:
        await cluster.create(f"{BATCH}/jobs", job(completions=3, parallelism=2))
        await cluster.settle()
        assert len(await pods(cluster)) == 2
        told = (await cluster.get(JOB))["status"]
        assert (told["active"], told["ready"], told["startTime"]) == (2, 2, "2026-01-01T00:00:00Z")
        await end(cluster, "Succeeded", 2)
        assert len(await pods(cluster)) == 1
        await end(cluster, "Succeeded")
        told = (await cluster.get(JOB))["status"]
        assert (told["succeeded"], told.get("active"), told.get("uncountedTerminatedPods")) == (3, None, {})
        assert await conditions(cluster) == [
            ("SuccessCriteriaMet", "True", "CompletionsReached"),
            ("Complete", "True", "CompletionsReached"),
        ]
        assert told["completionTime"] == "2026-01-01T00:00:00Z"
        assert all("finalizers" not in pod["metadata"] for pod in (await cluster.get("pods"))["items"])


async def test_failures_are_waited_out_longer_each_time_and_then_it_is_over() -> None:
    async with controlled("n1") as cluster:
        await cluster.create(f"{BATCH}/jobs", job(backoffLimit=2))
        await cluster.settle()
        for wait in (10, 20):
            await end(cluster, "Failed")
            assert await pods(cluster) == []
            await cluster.advance(wait - 1)
            assert await pods(cluster) == []
            await cluster.advance(1)
            assert len(await pods(cluster)) == 1
        await end(cluster, "Failed")
        assert (await cluster.get(JOB))["status"]["failed"] == 3
        assert await conditions(cluster) == [
            ("FailureTarget", "True", "BackoffLimitExceeded"),
            ("Failed", "True", "BackoffLimitExceeded"),
        ]


async def test_a_job_is_stopped_at_its_deadline_and_forgotten_after() -> None:
    async with controlled("n1") as cluster:
        await cluster.create(f"{BATCH}/jobs", job(activeDeadlineSeconds=30, ttlSecondsAfterFinished=100))
        await cluster.advance(29)
        assert len(await pods(cluster)) == 1
        await cluster.advance(1)
        assert (await conditions(cluster))[-1] == ("Failed", "True", "DeadlineExceeded")
        assert await cluster.names("pods") == []
        await cluster.advance(100)
        assert await cluster.names(f"{BATCH}/jobs") == []


async def test_indexes_are_run_once_each() -> None:
    async with controlled("n1") as cluster:
        await cluster.create(f"{BATCH}/jobs", job(completions=4, parallelism=3, completionMode="Indexed"))
        await cluster.settle()
        first = await pods(cluster)
        key = "batch.kubernetes.io/job-completion-index"
        assert sorted(pod["metadata"]["annotations"][key] for pod in first) == ["0", "1", "2"]
        assert sorted(pod["spec"]["hostname"] for pod in first) == ["j-0", "j-1", "j-2"]
        assert first[0]["spec"]["containers"][0]["env"][0]["name"] == "JOB_COMPLETION_INDEX"
        for pod in first:
            index = pod["metadata"]["annotations"][key]
            await cluster.kubelet.say(pod, "Failed" if index == "1" else "Succeeded")
        await cluster.settle()
        assert (await cluster.get(JOB))["status"]["completedIndexes"] == "0,2"
        await cluster.advance(10)
        assert sorted(pod["metadata"]["annotations"][key] for pod in await pods(cluster)) == ["1", "3"]
        await end(cluster, "Succeeded", 2)
        told = (await cluster.get(JOB))["status"]
        assert (told["completedIndexes"], told["succeeded"], told["failed"]) == ("0-3", 4, 1)


async def test_a_suspended_job_has_no_pods() -> None:
    async with controlled("n1") as cluster:
        await cluster.create(f"{BATCH}/jobs", job(suspend=True))
        await cluster.settle()
        assert await cluster.names("pods") == []
        assert await conditions(cluster) == [("Suspended", "True", "JobSuspended")]
        await cluster.patch(JOB, {"spec": {"suspend": False}})
        await cluster.settle()
        assert len(await pods(cluster)) == 1
        assert await conditions(cluster) == [("Suspended", "False", "JobResumed")]
        await cluster.patch(JOB, {"spec": {"suspend": True}})
        await cluster.settle()
        assert await cluster.names("pods") == []
        assert "startTime" not in (await cluster.get(JOB))["status"]


async def test_disruptions_do_not_count_and_some_exit_codes_end_it() -> None:
    rules = [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}},
    ]
    async with controlled("n1") as cluster:
        await cluster.create(f"{BATCH}/jobs", job(backoffLimit=0, podFailurePolicy={"rules": rules}))
        await cluster.settle()
        (pod,) = await pods(cluster)
        evicted = {"type": "DisruptionTarget", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        await cluster.patch(
            f"pods/{pod['metadata']['name']}/status", {"status": {"conditions": [evicted]}}, "strategic"
        )
        await end(cluster, "Failed", conditions=[evicted])
        await cluster.advance(60)
        assert "failed" not in (await cluster.get(JOB))["status"]
        assert len(await pods(cluster)) == 1
        await end(cluster, "Failed", containerStatuses=exited(42))
        assert (await conditions(cluster))[-1] == ("Failed", "True", "PodFailurePolicy")


async def test_a_job_that_is_deleted_lets_go_of_its_pods() -> None:
    async with controlled("n1") as cluster:
        for policy in ("Foreground", "Background"):
            await cluster.create(f"{BATCH}/jobs", job(parallelism=2))
            await cluster.settle()
            await cluster.delete(JOB, {"propagationPolicy": policy})
            await cluster.settle()
            assert await cluster.names("pods") == []
            assert await cluster.names(f"{BATCH}/jobs") == []


async def test_a_work_queue_ends_when_one_has_succeeded_and_none_runs() -> None:
    async with controlled("n1") as cluster:
        await cluster.create(f"{BATCH}/jobs", job(parallelism=3))
        await cluster.settle()
        await end(cluster, "Succeeded")
        assert len(await pods(cluster)) == 2
        assert await conditions(cluster) == []
        await end(cluster, "Succeeded", 2)
        assert (await conditions(cluster))[-1][0] == "Complete"


def cron(**spec: Any) -> Json:
    return {
        "metadata": {"name": "c"},
        "spec": {"schedule": "*/5 * * * *", "jobTemplate": {"spec": job()["spec"]}, **spec},
    }


async def test_a_cron_job_runs_on_time_and_keeps_the_last() -> None:
    async with controlled("n1") as cluster:
        await cluster.create(f"{BATCH}/cronjobs", cron(successfulJobsHistoryLimit=2))
        await cluster.settle()
        assert await cluster.names(f"{BATCH}/jobs") == []
        names = []
        for _ in range(4):
            await cluster.advance(300)
            names.append((await cluster.names(f"{BATCH}/jobs"))[-1])
            await end(cluster, "Succeeded")
        minute = 1_767_225_600 // 60
        assert names == [f"c-{minute + 5 * step}" for step in (1, 2, 3, 4)]
        assert await cluster.names(f"{BATCH}/jobs") == names[2:]
        told = (await cluster.get(f"{BATCH}/cronjobs/c"))["status"]
        assert told == {"lastScheduleTime": "2026-01-01T00:20:00Z", "lastSuccessfulTime": "2026-01-01T00:20:00Z"}


@pytest.mark.parametrize(("policy", "running"), [("Allow", 3), ("Forbid", 1), ("Replace", 1)])
async def test_what_happens_when_the_last_run_goes_on(policy: str, running: int) -> None:
    async with controlled("n1") as cluster:
        await cluster.create(f"{BATCH}/cronjobs", cron(concurrencyPolicy=policy))
        await cluster.advance(900)
        names = await cluster.names(f"{BATCH}/jobs")
        assert len(names) == running
        minute = 1_767_225_600 // 60
        assert names[-1] == f"c-{minute + (5 if policy == 'Forbid' else 15)}"
        assert [item["name"] for item in (await cluster.get(f"{BATCH}/cronjobs/c"))["status"]["active"]] == names


async def test_a_suspended_cron_job_runs_only_the_last_moment_that_it_missed() -> None:
    async with controlled("n1") as cluster:
        await cluster.create(f"{BATCH}/cronjobs", cron(suspend=True))
        await cluster.advance(1000)
        assert await cluster.names(f"{BATCH}/jobs") == []
        await cluster.patch(f"{BATCH}/cronjobs/c", {"spec": {"suspend": False}})
        await cluster.settle()
        assert await cluster.names(f"{BATCH}/jobs") == [f"c-{1_767_225_600 // 60 + 15}"]


@pytest.mark.parametrize(
    ("schedule", "zone", "start", "moments"),
    [
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", ["2026-03-30T00:30", "2026-03-31T00:30"]),
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", ["2026-10-25T00:30", "2026-10-25T01:30"]),
        ("0 9 * * 1-5", None, "2026-01-02T10:00", ["2026-01-05T09:00", "2026-01-06T09:00"]),
        ("0 0 13 * 5", None, "2026-02-01T00:00", ["2026-02-06T00:00", "2026-02-13T00:00", "2026-02-20T00:00"]),
        ("0 0 */15 * 1", None, "2026-02-01T00:00", ["2026-02-02T00:00", "2026-02-09T00:00", "2026-02-16T00:00"]),
        ("@hourly", None, "2026-01-01T00:30", ["2026-01-01T01:00"]),
        ("@every 90m", None, "2026-01-01T00:00", ["2026-01-01T01:30", "2026-01-01T03:00"]),
        ("0 0 29 2 ?", None, "2026-01-01T00:00", ["2028-02-29T00:00"]),
    ],
)
def test_schedules_are_due_as_in_kubernetes(schedule: str, zone: str | None, start: str, moments: list[str]) -> None:
    found, since = Schedule(schedule, zone), datetime.fromisoformat(start).replace(tzinfo=UTC).timestamp()
    now = since
    for moment in moments:
        due = found.after(now, since=since)
        assert due is not None
        assert datetime.fromtimestamp(due, UTC).isoformat()[:16] == moment
        assert found.before(due, since=since) == due
        assert found.before(due + 1, since=since) == due
        assert found.before(due - 1, since=now - 1) != due
        now = due


@pytest.mark.parametrize("schedule", ["* * * *", "* * * * * *", "61 * * * *", "0 0 L * *", "@every x", "@reboot", ""])
def test_what_is_no_schedule_is_refused(schedule: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Schedule(schedule)


@pytest.mark.parametrize("written", ["", "0", "0,1", "0-2", "0-2,4,6-9", "1,3,5,6"])
def test_indexes_read_and_write_the_same(written: str) -> None:
    assert text(parse(written)) == written
