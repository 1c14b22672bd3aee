"""Runs side by side: order, errors and Ctrl-C. And what comes out: summaries, JSON, CSV, the page."""

import json
import os
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest

from quartermaster.model.errors import InvalidInput
from quartermaster.simulation.experiment import Interrupted, run
from quartermaster.simulation.report.export import to_csv, to_json
from quartermaster.simulation.report.page import render as page
from quartermaster.simulation.report.table import render as table
from quartermaster.simulation.results import Curve, Experiment, Run, Task
from quartermaster.simulation.traces.source import TraceSource
from quartermaster.testing.fakes import REFUSED_SEED, echo

SOURCE = TraceSource(name="openb/default")


def tasks(count: int) -> list[Task]:
    return [Task(source=SOURCE, policy="fgd", seed=seed) for seed in range(count)]


def interrupt(task: Task) -> Run:
    if task.seed == 2:
        raise KeyboardInterrupt
    return echo(task)


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_tasks(workers: int) -> None:
    seen: list[int] = []
    runs = run(tasks(5), simulate=echo, workers=workers, progress=lambda done, _total, _task: seen.append(done))
    assert [outcome.seed for outcome in runs] == [0, 1, 2, 3, 4]
    assert seen == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_comes_home_as_it_was(workers: int) -> None:
    bad = [*tasks(2), Task(source=SOURCE, policy="fgd", seed=REFUSED_SEED)]
    with pytest.raises(InvalidInput, match="seed: is 99; take another"):
        run(bad, simulate=echo, workers=workers)


def test_an_interrupted_experiment_says_what_was_done() -> None:
    with pytest.raises(Interrupted) as stopped:
        run(tasks(5), simulate=interrupt, workers=1)
    assert [outcome.seed for outcome in stopped.value.runs] == [0, 1]


def test_ctrl_c_ends_the_command_and_its_workers_without_a_traceback() -> None:
    command = [sys.executable, "-m", "quartermaster", "simulate", "--trace", "openb/default", "--seeds", "50"]
    process = subprocess.Popen(
        [*command, "--workers", "2"], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    limit = time.monotonic() + 30
    while len(children.read_text().split()) < 3 and time.monotonic() < limit:  # the workers and their tracker
        os.sched_yield()
    workers = children.read_text().split()
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out == ""
    assert "Traceback" not in err
    assert "of 150 runs done" in err
    limit = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < limit:
        os.sched_yield()
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def sample(seeds: int = 2) -> Experiment:
    runs = [
        Run(
            policy=policy,
            seed=seed,
            metrics={"gpu_allocation_percent@100": level + seed},
            curves={"allocation": Curve((0.0, 50.0, 100.0, 130.0), (0.0, 50.0, level, level))},
            note=f"<i>{policy}</i>",
        )
        for policy, level in (("ours", 95.0), ("theirs <&>", 90.0))
        for seed in range(seeds)
    ]
    return Experiment(trace="t", nodes=2, gpus=16, runs=tuple(runs))


def test_summary_is_mean_and_sample_deviation() -> None:
    rows = {row.policy: row for row in sample().summary()}
    assert rows["ours"].mean == pytest.approx(95.5)
    assert rows["ours"].std == pytest.approx(0.5**0.5)
    assert {row.std for row in sample(1).summary()} == {0.0}


def test_json_and_csv_have_full_precision() -> None:
    document = json.loads(to_json(sample()))
    assert document["summary"][0] == {
        "policy": "ours", "metric": "gpu_allocation_percent@100", "mean": 95.5, "std": 0.5**0.5, "n": 2,
    }  # fmt: skip
    assert to_csv(sample()).splitlines()[1] == "t,ours,0,gpu_allocation_percent@100,95.0"


def test_the_table() -> None:
    golden = Path(__file__).parents[2] / "golden" / "simulate_table.txt"
    assert table(sample()) == golden.read_text(encoding="utf-8")


class Outline(HTMLParser):
    """Tags that are open, and everything that would be fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in {"meta", "br", "link", "img", "input", "hr"}:
            self.open.append(tag)
        self.fetched += [value for name, value in attrs if name in {"src", "href"} and value and value[0] != "#"]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_fetches_nothing_and_escapes() -> None:
    text = page(sample())
    outline = Outline()
    outline.feed(text)
    assert outline.open == []
    assert [url for url in outline.fetched if not url.startswith("data:")] == []
    assert "theirs &lt;&amp;&gt;" in text
    assert "<i>ours</i>" not in text
    assert "Allocation against arrived load" in text
    assert "Job completion time" not in text


def test_a_long_experiment_makes_a_page_of_bearable_size() -> None:
    many = tuple(float(i) for i in range(30_000))
    runs = tuple(
        Run(
            policy=f"p{p}",
            seed=seed,
            metrics={"average_jct_s": 1.0},
            curves={"utilisation": Curve(many, many)},
            samples={"jct_s": many, "wait_s": many},
        )
        for p in range(8)
        for seed in range(3)
    )
    assert len(page(Experiment(trace="t", nodes=1, gpus=8, runs=runs))) < 1_500_000
