"""Runs many tasks in parallel processes and gives the results in the order of the tasks.

Processes are spawned, not forked: NumPy starts threads when it is imported, and a fork of a process with threads may
copy a held lock. A spawned worker needs some 0.3 s to import what it runs, once, which is little beside runs of
seconds; a single task, or a single worker, stays in this process and needs none.

Workers never see Ctrl-C. It reaches every process of the terminal, and a worker that is still importing would print a
traceback, so the signal is blocked before they start and they inherit that. The parent ends them instead, at once. A
worker whose parent is gone ends itself, however the parent went.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path

from quartermaster.simulation.results import Run, Task

Simulate = Callable[[Task], Run]
"""What makes one run. Workers import it by its name, so it is a function at the top of a module."""

Progress = Callable[[int, int, Task | None], None]
"""Told how many tasks of how many are done, and which was the last; first with 0."""


class Interrupted(Exception):  # not an error: the user asked for it
    """Ctrl-C came before the end. `runs` are those that were done, in the order of their tasks."""

    def __init__(self, *, runs: Sequence[Run], total: int) -> None:
        super().__init__(f"{len(runs)} of {total} runs done")
        self.runs = tuple(runs)
        self.total = total


class WorkerDied(RuntimeError):
    """A worker process ended without a result or an error: killed, most likely for lack of memory."""


def run(
    tasks: Sequence[Task], *, simulate: Simulate, workers: int | None = None, progress: Progress | None = None
) -> tuple[Run, ...]:
    """The runs of `tasks`, in their order, whatever order they end in.

    The first error ends everything and is raised as it was, with the worker's traceback as its cause.
    """
    report = progress or (lambda _done, _total, _task: None)
    count = min(workers or available_cores(), len(tasks))
    results: dict[int, Run] = {}
    try:
        report(0, len(tasks), None)
        if count <= 1:
            for index, task in enumerate(tasks):
                results[index] = simulate(task)
                report(len(results), len(tasks), task)
        else:
            for index, outcome in _in_parallel(tasks, simulate, count):
                results[index] = outcome
                report(len(results), len(tasks), tasks[index])
    except KeyboardInterrupt:
        done = [results[index] for index in sorted(results)]
        raise Interrupted(runs=done, total=len(tasks)) from None
    return tuple(results[index] for index in range(len(tasks)))


def _in_parallel(tasks: Sequence[Task], simulate: Simulate, workers: int) -> Iterator[tuple[int, Run]]:
    """Results as they come. Left early, in whatever way, it leaves no process behind."""
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_watch_parent)
    finished = False
    try:
        with _sigint_held():
            indices: dict[Future[Run], int] = {pool.submit(simulate, task): index for index, task in enumerate(tasks)}
        for future in as_completed(indices):
            yield indices[future], future.result()
        finished = True
    except BrokenProcessPool:
        raise WorkerDied("a worker process ended unexpectedly, perhaps for lack of memory") from None
    finally:
        if not finished:
            for worker in set(multiprocessing.active_children()) - others:
                worker.terminate()
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _sigint_held() -> Iterator[None]:
    """SIGINT waits while worker processes and the pool's thread start; all of them keep it blocked for good.

    Blocking it here is not enough: a thread that a library started takes it instead, and the interpreter then raises in
    this one all the same, with half a worker started. So it is also caught, and raised again at the end.
    """
    caught: list[int] = []
    own = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, lambda number, _frame: caught.append(number)) if own else None
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        if own:
            signal.signal(signal.SIGINT, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if caught:
        raise KeyboardInterrupt


def _watch_parent() -> None:
    """End this worker when its parent ends: a pool's worker would wait for its next task for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "only workers call this"

    def wait() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=wait, daemon=True, name="watch-parent").start()


def available_cores() -> int:
    """Cores this process may use: its affinity, and the CPU limit of its container, rounded up."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return max(1, min(cores, -(-int(quota) // int(period))))
    except (OSError, ValueError):
        return cores
