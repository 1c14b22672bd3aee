"""``quartermaster simulate``."""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import sys
import time
from pathlib import Path

from rich.console import Console

from quartermaster import __version__
from quartermaster.cli.progress import progress
from quartermaster.model.errors import InvalidInput
from quartermaster.simulation import experiment as runner
from quartermaster.simulation.distance import Locality
from quartermaster.simulation.report.export import to_csv, to_json
from quartermaster.simulation.report.table import WIDE, render
from quartermaster.simulation.results import Experiment, Provenance, Task
from quartermaster.simulation.simulate import check_policy, default_policies, load, simulate
from quartermaster.simulation.traces.cluster import ClusterShape, ClusterTrace, OverheadRule
from quartermaster.simulation.traces.jobs import JobTrace
from quartermaster.simulation.traces.source import TraceSource

MAX_SEEDS = 10_000


def command(options: argparse.Namespace) -> int:
    """Check everything, then run, then print."""
    seeds = whole("--seeds", options.seeds, low=1, high=MAX_SEEDS)
    first = whole("--first-seed", options.first_seed, low=0, high=2**32)
    cores = len(os.sched_getaffinity(0))
    workers = cores if options.workers is None else whole("--workers", options.workers, low=1, high=1024)
    until = fraction("--until", options.until)
    report = _writable(options.report)
    source = _source(options)
    trace = load(source)
    policies = _policies(options.policy, trace)
    locality = _locality(options.locality, options.rack, trace)
    if isinstance(trace, JobTrace):
        seeds = _useful_seeds(seeds, policies)
    tasks = [
        Task(source=source, policy=policy, seed=first + seed, until=until, locality=locality)
        for policy in policies
        for seed in range(seeds)
    ]
    began = time.perf_counter()
    try:
        with progress(trace.name) as tell:
            runs = runner.run(tasks, simulate=simulate, workers=workers, progress=tell)
    except runner.Interrupted as stop:
        sys.stderr.write(f"{stop}; nothing was written\n")
        return 130
    nodes, gpus = _size(trace)
    made = Provenance(
        command=shlex.join(["quartermaster", *sys.argv[1:]]),
        seconds=time.perf_counter() - began,
        workers=workers,
        versions={"quartermaster": __version__, "python": platform.python_version()},
        source=options.trace or options.format,
    )
    experiment = Experiment(trace=trace.name, nodes=nodes, gpus=gpus, runs=tuple(runs), made=made)
    _print(experiment, options.output)
    if report is not None:
        from quartermaster.simulation.report import page  # noqa: PLC0415  # only when asked for

        report.write_text(page.render(experiment), encoding="utf-8")
        sys.stderr.write(f"report: {report}\n")
    return 0


def whole(flag: str, text: str, *, low: int, high: int) -> int:
    """A whole number within bounds."""
    try:
        value = int(text)
    except ValueError:
        raise InvalidInput(flag, f"'{text}' is not a whole number", f"give {low} to {high}") from None
    if not low <= value <= high:
        raise InvalidInput(flag, f"{value} is out of range", f"give {low} to {high}")
    return value


def fraction(flag: str, text: str) -> float:
    """``130%`` or ``1.3``, as 1.3."""
    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        value = float("nan")
    if not 0 < value <= 10:
        raise InvalidInput(flag, f"'{text}' is not a demand", "give per cent of capacity, such as 130% (at most 1000%)")
    return value


def _writable(path: str | None) -> Path | None:
    """The report's path, refused before the run and not after it."""
    if path is None:
        return None
    target = Path(path)
    if not target.parent.is_dir():
        raise InvalidInput("--report", f"folder '{target.parent}' does not exist", "make it, or name another")
    if target.is_dir() or not os.access(target if target.exists() else target.parent, os.W_OK):
        raise InvalidInput("--report", f"'{target}' cannot be written", "name a file in a folder of yours")
    return target


def _source(options: argparse.Namespace) -> TraceSource:
    if bool(options.trace) == bool(options.format):
        problem = "both are given" if options.trace else "neither is given"
        raise InvalidInput("--trace, --format", problem, "name a shipped trace, or the format of your own files")
    return TraceSource(
        name=options.trace or "",
        format=options.format or "",
        nodes=options.nodes or "",
        pods=options.pods or "",
        jobs=options.jobs or "",
        cluster=ClusterShape.parse(options.cluster) if options.cluster else None,
        queue=options.queue,
        overhead_rule=OverheadRule(options.overhead) if options.overhead else None,
        allow_unknown_models=options.allow_unknown_models,
    )


def _locality(text: str | None, rack: str | None, trace: ClusterTrace | JobTrace) -> Locality | None:
    if text is None:
        if rack is not None:
            raise InvalidInput(
                "--rack", "says how far apart nodes are, and nothing depends on it", "give --locality too"
            )
        return None
    if not isinstance(trace, JobTrace):
        raise InvalidInput("--locality", f"in '{trace.name}' pods stay for ever, at no speed", "give a trace of jobs")
    nodes = 0 if rack is None else whole("--rack", rack, low=1, high=trace.cluster.nodes)
    locality = Locality.parse(text, rack=nodes)
    locality.check(trace)
    return locality


def _policies(text: str | None, trace: ClusterTrace | JobTrace) -> list[str]:
    names = default_policies(trace) if text is None else [name.strip() for name in text.split(",")]
    for name in names:
        check_policy(name, trace)
        if names.count(name) > 1:
            raise InvalidInput("--policy", f"'{name}' is named twice", "name each policy once")
    return names


def _useful_seeds(seeds: int, policies: list[str]) -> int:
    """Jobs arrive as recorded: without a random policy all seeds give the same run."""
    if seeds > 1 and "random" not in policies:
        sys.stderr.write("note: nothing in this trace depends on the seed; one run per policy\n")
        return 1
    return seeds


def _size(trace: ClusterTrace | JobTrace) -> tuple[int, int]:
    if isinstance(trace, JobTrace):
        return trace.cluster.nodes, trace.cluster.gpus
    return len(trace.nodes), trace.gpus


def _print(experiment: Experiment, form: str) -> None:
    if form == "json":
        print(to_json(experiment), end="")
    elif form == "csv":
        print(to_csv(experiment), end="")
    else:
        screen = Console()
        print(render(experiment, width=screen.width if screen.is_terminal else WIDE, colour=screen.is_terminal), end="")
