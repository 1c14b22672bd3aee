"""The command line from outside: exit codes, what goes where, and one clear line for everything that is wrong."""

import json
from pathlib import Path

import pytest

from quartermaster.cli.main import main

NODES = "sn,cpu_milli,memory_mib,gpu,model\na,8000,16384,2,T4\nb,8000,16384,1,P100\n"
PODS = (
    "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\n"
    "p1,1000,1024,1,1000,\np2,1000,1024,1,500,T4\np3,1000,1024,1,500,T4|P100\np4,1000,1024,0,0,\n"
)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "nodes.csv").write_text(NODES)
    (tmp_path / "pods.csv").write_text(PODS)
    return tmp_path


def simulate(files: Path, *more: str) -> int:
    own = ["--format", "openb", "--nodes", str(files / "nodes.csv"), "--pods", str(files / "pods.csv")]
    return main(["simulate", *own, "--workers", "1", *more])


def test_json_is_the_documented_schema(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate(files, "--policy", "fgd,random", "--seeds", "2", "-o", "json") == 0
    document = json.loads(capsys.readouterr().out)
    assert set(document) == {"trace", "nodes", "gpus", "runs", "summary"}
    assert (document["nodes"], document["gpus"]) == (2, 3)
    assert [(run["policy"], run["seed"]) for run in document["runs"]] == [
        ("fgd", 42), ("fgd", 43), ("random", 42), ("random", 43),
    ]  # fmt: skip
    assert all(set(run) == {"policy", "seed", "metrics"} for run in document["runs"])
    assert all(set(row) == {"policy", "metric", "mean", "std", "n"} for row in document["summary"])
    for row in document["summary"]:
        having = [run for run in document["runs"] if run["policy"] == row["policy"] and row["metric"] in run["metrics"]]
        assert row["n"] == len(having)


def test_csv_has_a_line_per_run_and_metric(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate(files, "--policy", "fgd", "-o", "csv") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "trace,policy,seed,metric,value"
    assert len(lines) > 1
    assert all(line.startswith("pods,fgd,42,") for line in lines[1:])


def test_jobs_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = tmp_path / "jobs.csv"
    jobs.write_text("job,submission_time,duration,num_gpu,deadline\n0,0,100,8,500\n1,10,50,4,500\n2,20,10,4,500\n")
    own = ["simulate", "--format", "itp-2021", "--jobs", str(jobs), "--cluster", "1x8", "-o", "json"]
    assert main([*own, "--policy", "fifo,srtf", "--workers", "1"]) == 0
    found = {run["policy"]: run["metrics"] for run in json.loads(capsys.readouterr().out)["runs"]}
    # fifo: ends at 100, 150, 110. srtf: job 1 displaces job 0 at once, job 2 joins it; then job 0 runs its other 90 s.
    assert found["fifo"]["average_jct_s"] == pytest.approx((100 + 140 + 90) / 3)
    assert found["srtf"]["average_jct_s"] == pytest.approx((150 + 50 + 10) / 3)
    assert found["srtf"]["makespan_s"] == pytest.approx(150)


def test_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policies"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line.split()[0] for line in lines]
    assert {"quartermaster", "fgd", "pwr", "dot-prod", "srtf", "tiresias"} <= set(names)
    assert all("[" in line for line in lines), "each has its source"
    assert main(["traces", "-o", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {"openb/default", "philly-muri/trace1"} <= {entry["name"] for entry in document["traces"]}
    assert main(["version"]) == 0
    assert capsys.readouterr().out.startswith("quartermaster 0.")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["simulate"],
            "error: --trace, --format: neither is given; name a shipped trace, or the format of your own files",
        ),
        (
            ["simulate", "--trace", "openb/defalt"],
            "error: trace: there is no shipped trace 'openb/defalt'; did you mean 'openb/default'?",
        ),
        (
            ["simulate", "--trace", "openb/default", "--policy", "fgdd"],
            "error: policy: there is no 'fgdd'; did you mean fgd?",
        ),
        (
            ["simulate", "--trace", "openb/default", "--policy", "srtf"],
            "error: policy 'srtf': orders jobs, and 'openb/default' has pods that stay for ever; "
            "give a placement policy (see: quartermaster policies), or a trace of jobs",
        ),
        (
            ["simulate", "--trace", "openb/default", "--policy", "fgd,fgd"],
            "error: --policy: 'fgd' is named twice; name each policy once",
        ),
        (
            ["simulate", "--trace", "openb/default", "--seeds", "0"],
            "error: --seeds: 0 is out of range; give 1 to 10000",
        ),
        (
            ["simulate", "--trace", "openb/default", "--until", "lots"],
            "error: --until: 'lots' is not a demand; give per cent of capacity, such as 130% (at most 1000%)",
        ),
        (
            ["simulate", "--trace", "openb/default", "--until", "nan"],
            "error: --until: 'nan' is not a demand; give per cent of capacity, such as 130% (at most 1000%)",
        ),
        (
            ["simulate", "--trace", "openb/default", "--report", "/nowhere/at/all.html"],
            "error: --report: folder '/nowhere/at' does not exist; make it, or name another",
        ),
        (
            ["simulate", "--format", "philly-muri", "--jobs", "x.csv", "--cluster", "8by8"],
            "error: cluster: '8by8' is not a cluster shape; give NODESxGPUS, such as 8x8",
        ),
        (
            ["simulate", "--trace", "openb/default", "--policy", "fgd+preempt"],
            "error: policy 'fgd+preempt': in 'openb/default' pods stay for ever; give 'fgd'",
        ),
        (
            ["simulate", "--trace", "philly-muri/trace3", "--policy", "srtf+backfill"],
            "error: policy 'srtf+backfill': 'srtf' has its own rules on who passes or stops; "
            "leave the + away, or give a placement policy",
        ),
        (
            ["simulate", "--trace", "philly-muri/trace3", "--locality", "0.1"],
            "error: --locality: '0.1' is not FABRIC:NETWORK; give two shares, as 0.1:0.3",
        ),
        (
            ["simulate", "--trace", "philly-pollux/0.5-1", "--locality", "0.1:0.3"],
            "error: --locality: 'philly-pollux/0.5-1' has measured speeds by placement; "
            "leave it out, or take another trace",
        ),
        (
            ["simulate", "--trace", "philly-muri/trace3", "--rack", "4"],
            "error: --rack: says how far apart nodes are, and nothing depends on it; give --locality too",
        ),
        (["simulate", "--tracy"], "error: unrecognized arguments: --tracy (see: quartermaster --help)"),
        (["frobnicate"], None),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str], message: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.count("\n") == 1
    assert streams.err.startswith("error: ")
    if message is not None:
        assert streams.err == message + "\n"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (PODS.replace("p2,1000", "p2,-5"), "pods.csv:3: column 'cpu_milli'"),
        (PODS.replace("p2,1000", "p2,nan"), "pods.csv:3: column 'cpu_milli'"),
        (PODS.replace("500,T4\n", "500,H999\n"), "H999"),
        (PODS.replace("p2", "p1"), "p1"),
        (PODS.replace("cpu_milli", "cpus"), "cpu"),
        ("", "pods.csv"),
    ],
)
def test_bad_files_name_line_and_column(files: Path, text: str, part: str, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "pods.csv").write_text(text)
    assert simulate(files) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert part in error
