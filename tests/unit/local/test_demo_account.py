"""What an account of a cluster says, from objects made by hand: no cluster, no time."""

import asyncio
from typing import Any

from quartermaster.local.clock import VirtualClock
from quartermaster.local.demo.account import Account, keep

Json = dict[str, Any]


def node(name: str, gpus: int = 8, **notes: str) -> Json:
    annotations = {f"quartermaster.dev/{key}": value for key, value in notes.items()}
    return {
        "metadata": {"name": name, "annotations": annotations},
        "status": {
            "allocatable": {"nvidia.com/gpu": str(gpus), "nvidia.com/mig-1g.5gb": "7"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def pod(
    name: str, of: str, on: str = "", phase: str = "Pending", *, gpus: int = 4, why: str = "", ended: str = ""
) -> Json:
    resources = {"requests": {"nvidia.com/gpu": str(gpus)}}
    status: Json = {"phase": phase}
    if why:
        status["conditions"] = [{"type": "PodScheduled", "status": "False", "message": why}]
    if ended:
        status["containerStatuses"] = [{"state": {"terminated": {"reason": ended}}}]
    return {
        "metadata": {"name": name, "namespace": "demo", "uid": name, "labels": {"app.kubernetes.io/name": of}},
        "spec": {"containers": [{"name": "main", "resources": resources}], **({"nodeName": on} if on else {})},
        "status": status,
    }


def test_what_is_new_is_told_once() -> None:
    account = Account()
    there = [pod("a0", "a", "n0", "Running"), pod("a1", "a", "n1", "Running"), pod("b", "b", why="no node fits: x; y")]
    account.look(0.25, [node("n0"), node("n1")], there)
    assert account.tell() == [
        "00:15  8 of 16 GPUs, 0 of 14 MIG instances; 2 pods run, 1 wait",
        "       placed a (2 pods, 8 GPUs, n0 n1)",
        "       waits  b (1 pod): no node fits: x",
    ]
    account.look(0.5, [node("n0"), node("n1")], there)
    assert account.tell() == ["00:30  8 of 16 GPUs, 0 of 14 MIG instances; 2 pods run, 1 wait"]


def test_ends_losses_and_faults_are_told_apart() -> None:
    account = Account()
    names = ("done", "oom", "evicted")
    account.look(0, [node("n0"), node("n1")], [pod(name, name, "n0", "Running", gpus=1) for name in names])
    account.tell()
    ended = [
        pod("done", "done", "n0", "Succeeded", gpus=1),
        pod("oom", "oom", "n0", "Failed", gpus=1, ended="OOMKilled"),
    ]
    account.look(1, [node("n0", xid="79:3")], ended)
    assert account.tell() == [
        "01:00  0 of 8 GPUs, 0 of 7 MIG instances; 0 pods run, 0 wait",
        "       done   done (1 GPU, n0)",
        "       failed oom (1 GPU, n0, OOMKilled)",
        "       gone   evicted (1 GPU, n0)",
        "       fault  n0: xid 79:3, n1: gone",
    ]
    account.look(2, [node("n0")], ended)
    assert account.tell()[1:] == ["       fault  n0: healed"]


def test_a_pod_that_ends_between_two_looks_was_placed_and_a_new_one_of_its_name_is_another() -> None:
    account = Account()
    account.look(0.1, [node("n0")], [pod("a", "a", "n0", "Succeeded")])
    assert account.totals == {"placed": 1, "done": 1, "failed": 0}
    again = pod("a", "a", "n0", "Running")
    again["metadata"]["uid"] = "another"
    account.look(0.2, [node("n0")], [again])
    assert account.totals == {"placed": 2, "done": 1, "failed": 0}


def test_long_lines_end() -> None:
    account = Account()
    account.look(0.1, [node("n0", 100)], [pod(f"p{index}", f"w{index}", "n0", "Running") for index in range(9)])
    assert account.tell()[1].endswith("w5 (4 GPUs, n0), and 3 more")


async def test_it_ends_with_a_summary_of_the_hours_that_passed() -> None:
    clock, said = VirtualClock(), list[str]()
    nodes = [node("n0")]
    pods = [pod("a", "a", "n0", "Running"), pod("b", "b", why="no node fits")]

    task = asyncio.create_task(
        keep(Account(), nodes=lambda: nodes, pods=lambda: pods, clock=clock, say=said.append, until=1.0)
    )
    while not task.done():
        for _ in range(3):
            await asyncio.sleep(0)
        clock.jump()
        if clock() >= 1_767_225_600.0 + 1800:
            pods[0] = pod("a", "a", "n0", "Succeeded")
    await task
    assert [text.split("  ")[0] for text in said[:-1]] == ["00:05", "00:15", "00:30", "00:45", "01:00"]
    assert said[-1].splitlines() == [
        "after 1 h:",
        "  pods: 1 placed, 1 succeeded, 0 failed",
        "  GPUs: in use 25% of the time (2.0 of 8.0 GPU-hours), at most 4 at once",
        "  b waits (1 pod): no node fits",
    ]
