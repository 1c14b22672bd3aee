"""What is told again is counted, what is alike is told together, a flood is dropped."""

from quartermaster.local.controllers.events import Note, Recorder
from quartermaster.local.controllers.objects import DEPLOYMENTS, PODS
from quartermaster.testing.controllers import APPS, controlled, workload

WEB = {"metadata": {"name": "web", "namespace": "default", "uid": "u1"}}


def note(message: str, reason: str = "ScalingReplicaSet", uid: str = "u1") -> Note:
    return Note(DEPLOYMENTS, {"metadata": WEB["metadata"] | {"uid": uid}}, reason, message)


def test_the_same_again_is_a_count() -> None:
    recorder = Recorder()
    first = recorder.tell("a", note("up"), 0.0)
    again = recorder.tell("a", note("up"), 5.0)
    assert first is not None
    assert again is not None
    assert (first.name, first.body["count"]) == ("", 1)
    assert again.name == first.body["metadata"]["name"]
    assert (again.body["count"], again.body["lastTimestamp"]) == (2, "1970-01-01T00:00:05Z")


def test_the_tenth_of_a_kind_and_all_after_it_are_told_together() -> None:
    recorder = Recorder()
    told = [recorder.tell("a", note(f"to {number}"), float(number)) for number in range(12)]
    assert [telling.name == "" for telling in told if telling] == [True] * 10 + [False] * 2
    assert told[-1] is not None
    assert told[-1].body["message"] == "(combined from similar events): to 11"
    assert told[-1].body["count"] == 3
    other = recorder.tell("a", note("to 0", reason="Other"), 12.0)
    assert other is not None
    assert other.body["message"] == "to 0"
    later = recorder.tell("a", note("to 99"), 700.0)
    assert later is not None
    assert later.body["message"] == "to 99", "after ten quiet minutes they are told apart again"


def test_a_flood_about_one_object_is_dropped_and_others_are_not() -> None:
    recorder = Recorder()
    told = [recorder.tell("a", note("up"), 0.0) for _ in range(30)]
    assert sum(telling is not None for telling in told) == 25
    assert recorder.tell("a", note("up", uid="u2"), 0.0) is not None
    assert recorder.tell("a", note("up"), 299.0) is None
    assert recorder.tell("a", note("up"), 301.0) is not None


def test_an_event_that_somebody_deleted_is_told_anew() -> None:
    recorder = Recorder()
    recorder.tell("a", note("up"), 0.0)
    again = recorder.tell("a", note("up"), 1.0)
    assert again is not None
    recorder.lost(again)
    anew = recorder.tell("a", note("up"), 2.0)
    assert anew is not None
    assert anew.name == ""


def test_events_of_the_cluster_have_no_namespace_of_their_own() -> None:
    told = Recorder().tell("a", Note(PODS, {"metadata": {"name": "n", "uid": "u"}}, "R", "m", warning=True), 0.0)
    assert told is not None
    assert (told.namespace, told.body["type"]) == ("default", "Warning")


async def test_healthy_workloads_are_told_of() -> None:
    async with controlled("n1") as cluster:
        await cluster.create(f"{APPS}/deployments", workload("Deployment", replicas=2))
        await cluster.settle()
        listed = (await cluster.get("events"))["items"]
        assert sorted(event["reason"] for event in listed) == [
            "ScalingReplicaSet",
            "SuccessfulCreate",
            "SuccessfulCreate",
        ]
        for event in listed:
            await cluster.delete(f"events/{event['metadata']['name']}")
        await cluster.patch(f"{APPS}/deployments/web", {"spec": {"replicas": 0}})
        await cluster.settle()
        reasons = [event["reason"] for event in (await cluster.get("events"))["items"]]
        assert sorted(reasons) == ["ScalingReplicaSet", "SuccessfulDelete", "SuccessfulDelete"]
