"""What containers have written: a function of what happened, which only grows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quartermaster.local.kubelet.logs import Line, Log, Run, runs
from quartermaster.testing.kubernetes import Json, pod

BEGAN = 1_767_225_600.0


def pod_with(devices: str = "", **annotations: str) -> Json:
    ours = {f"quartermaster.dev/{key.replace('_', '-')}": text for key, text in annotations.items()}
    value = pod("p", nodeName="h-0")
    value["metadata"] |= {"uid": "u", "annotations": ours | ({"quartermaster.dev/devices": devices} if devices else {})}
    return value


def texts(log: Log) -> list[str]:
    return [line.text for line in log]


def test_a_run_from_pull_to_end() -> None:
    value = pod_with(devices="2,3", run_seconds="30", image_gib="10", ready_seconds="4")
    log = Log(value, "main", Run(BEGAN, BEGAN + 30), now=BEGAN + 1000)
    first, ready, *steps, last = log
    assert first == Line(BEGAN, "INFO image image pulled in 8.0 s; main starts on h-0, GPU 2, 3")
    assert ready == Line(BEGAN + 4, "INFO ready after 4.0 s")
    assert [line.at for line in steps] == [BEGAN + 14, BEGAN + 24]
    assert [line.text.split(" loss ")[0] for line in steps] == ["INFO step 10", "INFO step 20"]
    assert steps[0].text.endswith("33 % done")
    assert last == Line(BEGAN + 30, "INFO done after 30 s")


@pytest.mark.parametrize(
    ("run", "last"),
    [
        (Run(BEGAN, BEGAN + 9, 137, "OOMKilled"), "Killed"),
        (Run(BEGAN, BEGAN + 9, 1, "Error"), "ERROR unexpected end; exit code 1"),
        (Run(BEGAN, BEGAN + 9, 134, "Error", "Xid 79 on GPU 3"), "ERROR Xid 79 on GPU 3; exit code 134"),
    ],
)
def test_how_it_ends(run: Run, last: str) -> None:
    assert texts(Log(pod_with(run_seconds="30"), "main", run, now=BEGAN + 100))[-1] == last


def test_a_service_tells_of_requests_and_a_plain_job_of_its_share() -> None:
    assert "requests in 10 s" in Log(pod_with(), "main", Run(BEGAN), now=BEGAN + 11)[2].text
    assert Log(pod_with(run_seconds="40"), "main", Run(BEGAN), now=BEGAN + 11)[2].text == "INFO 25 % done"


@given(st.floats(0, 500), st.floats(0, 500), st.booleans())
def test_a_log_only_grows(one: float, two: float, trains: bool) -> None:
    value = pod_with(devices="0" if trains else "", run_seconds="400")
    early, late = sorted((one, two))
    before = list(Log(value, "main", Run(BEGAN), now=BEGAN + early))
    after = list(Log(value, "main", Run(BEGAN), now=BEGAN + late))
    ended = list(Log(value, "main", Run(BEGAN, BEGAN + late, 1), now=BEGAN + 999))
    assert after[: len(before)] == before
    assert ended[:-1] == after
    assert [line.at for line in ended] == sorted(line.at for line in ended)


@given(st.floats(0, 500), st.floats(-10, 510))
def test_the_next_line_is_due_when_it_comes_and_since_finds_the_first(passed: float, since: float) -> None:
    log = Log(pod_with(), "main", Run(BEGAN), now=BEGAN + passed)
    assert log.due > BEGAN + passed
    assert len(Log(pod_with(), "main", Run(BEGAN), now=log.due + 1e-3)) == len(log) + 1
    assert list(log[log.since(BEGAN + since) :]) == [line for line in log if line.at >= BEGAN + since]


def test_a_long_log_is_read_from_its_end() -> None:
    log = Log(pod_with(), "main", Run(BEGAN), now=BEGAN + 10_000_000_000)
    assert len(log) == 1_000_000_001
    assert [line.at for line in log[len(log) - 2 :]] == [BEGAN + 0.2 + 10 * step for step in (999_999_998, 999_999_999)]


def test_which_runs_a_status_tells_of() -> None:
    started, ended = "2026-01-01T00:00:00Z", "2026-01-01T00:00:09Z"
    gone = {"terminated": {"exitCode": 1, "reason": "Error", "startedAt": started, "finishedAt": ended}}
    before = Run(BEGAN, BEGAN + 9, 1, "Error")

    def told(**status: Json) -> Json:
        return {"status": {"containerStatuses": [{"name": "main", **status}]}}

    running = told(state={"running": {"startedAt": ended}}, lastState=gone)
    assert runs(running, "main") == (Run(BEGAN + 9), before)
    assert runs(told(state={"waiting": {"reason": "CrashLoopBackOff"}}, lastState=gone), "main") == (before, before)
    assert runs(told(state=gone), "main") == (before, None)
    assert runs(told(state={"waiting": {}}), "main") == (None, None)
    assert runs(running, "other") == (None, None)
