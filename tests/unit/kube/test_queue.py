"""The work queue, in virtual time."""

import asyncio
import contextlib
import random
from typing import Any

from quartermaster.kube.queue import WorkQueue
from quartermaster.local.clock import VirtualClock


def made(**options: Any) -> tuple[WorkQueue[str], VirtualClock]:
    clock = VirtualClock()
    return WorkQueue(clock=clock, rng=random.Random(1), **options), clock


async def taken(queue: WorkQueue[str]) -> list[str]:
    """All keys that are due, each worked on at once."""
    found = []
    with contextlib.suppress(TimeoutError):
        while True:
            task = asyncio.ensure_future(queue.get())
            for _ in range(5):
                await asyncio.sleep(0)
            if not task.done():
                task.cancel()
                raise TimeoutError
            found.append(task.result())
            queue.done(found[-1])
    return found


async def test_a_key_waits_once_however_often_it_is_added() -> None:
    queue, _ = made()
    for key in ("b", "a", "b", "b"):
        queue.add(key)
    assert len(queue) == 2
    assert await taken(queue) == ["b", "a"]


async def test_a_key_added_while_it_is_worked_on_comes_again_and_never_twice_at_once() -> None:
    queue, _ = made()
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a")
    queue.add("a")
    assert len(queue) == 1
    other = asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not other.done()
    queue.done("a")
    assert await other == "a"
    queue.done("a")
    assert len(queue) == 0


async def test_groups_take_turns() -> None:
    queue, _ = made(group=lambda key: key[0])
    for key in ("a1", "a2", "a3", "b1", "c1", "c2"):
        queue.add(key)
    assert await taken(queue) == ["a1", "b1", "c1", "a2", "c2", "a3"]


async def test_the_earliest_of_several_delays_counts_and_an_add_is_earlier_than_all() -> None:
    queue, clock = made()
    queue.add_after("a", 30)
    queue.add_after("a", 10)
    queue.add_after("a", 20)
    queue.add_after("b", 5)
    assert await taken(queue) == []
    clock.jump(clock.now + 6)
    assert await taken(queue) == ["b"]
    clock.jump(clock.now + 5)
    assert await taken(queue) == ["a"]
    clock.jump(clock.now + 100)
    assert await taken(queue) == [], "the other wishes were met by the first"
    queue.add_after("c", 10)
    queue.add("c")
    assert await taken(queue) == ["c"]
    clock.jump(clock.now + 100)
    assert await taken(queue) == []


async def test_who_waits_is_woken_by_time_and_by_an_earlier_wish() -> None:
    queue, clock = made()
    queue.add_after("late", 100)
    waiting = asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    queue.add_after("soon", 1)
    for _ in range(5):
        await asyncio.sleep(0)
    assert clock.next() == clock.now + 1
    clock.jump()
    assert await waiting == "soon"


async def test_failures_wait_longer_each_time_and_success_forgets_them() -> None:
    queue, _ = made(first=1.0, longest=60.0)
    pauses = [queue.retry("a") for _ in range(8)]
    for number, pause in enumerate(pauses):
        whole = min(60.0, 2.0**number)
        assert whole / 2 <= pause <= whole
    assert queue.failures("a") == 8
    queue.forget("a")
    assert queue.retry("a") <= 1.0
    assert queue.retry("b", at_least=40.0) >= 40.0


async def test_workers_retry_what_fails_and_come_back_when_told() -> None:
    queue, clock = made(first=1.0)
    seen: list[tuple[str, float]] = []
    start = clock.now

    async def handle(key: str) -> float | None:
        seen.append((key, clock.now - start))
        if key == "bad" and len([name for name, _ in seen if name == "bad"]) < 3:
            raise RuntimeError("no")
        return 50.0 if key == "again" and len(seen) < 4 else None

    for key in ("bad", "good", "again"):
        queue.add(key)
    task = asyncio.ensure_future(queue.work(handle, workers=2))
    for _ in range(60):
        await asyncio.sleep(0)
        if _ % 10 == 9:
            clock.jump()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert [name for name, _ in seen].count("bad") == 3
    assert [name for name, _ in seen].count("good") == 1
    assert [when for name, when in seen if name == "again"] == [0.0, 50.0]
    assert queue.failures("bad") == 0


async def test_no_two_workers_have_the_same_key() -> None:
    queue, clock = made()
    rng, busy, most, worked = random.Random(3), set[str](), 0, 0

    async def handle(key: str) -> None:
        nonlocal most, worked
        assert key not in busy
        busy.add(key)
        most, worked = max(most, len(busy)), worked + 1
        for _ in range(rng.randrange(4)):
            await asyncio.sleep(0)
        busy.remove(key)
        if rng.random() < 0.3:
            raise RuntimeError("no")

    task = asyncio.ensure_future(queue.work(handle, workers=4))
    for turn in range(2000):
        queue.add(rng.choice("abcdef"))
        await asyncio.sleep(0)
        if turn % 20 == 0:
            clock.jump()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert most == 4
    assert worked > 500
