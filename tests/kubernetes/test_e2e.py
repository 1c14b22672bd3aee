"""The end-to-end benchmark, small: every scenario of it works, and what it checks of the decisions holds."""

import math

import pytest

from benchmarks import e2e
from tests.kubernetes.fixtures import program
from tools.kubernetes.binaries import locate

pytestmark = pytest.mark.kubernetes

OURS = {
    "e2e/fill-160",
    "e2e/fill-160-cpu",
    "e2e/fill-160-deciding",
    "e2e/fill-160-binding",
    "e2e/writes-per-bound-pod",
    "e2e/one-gpu-short",
    "e2e/reclaim-one",
    "e2e/gang-32",
    "e2e/idle-40-cpu-share",
    "e2e/idle-40-memory",
    "e2e/fill-32-at-40",
}
STOCK = {"e2e/kube-scheduler-fill-160", "e2e/kube-scheduler-fill-160-cpu"}


def test_every_scenario_works_on_a_small_cluster() -> None:
    programs = {name: program(name) for name in ("kube-apiserver", "etcd")}
    stock = locate("kube-scheduler")
    if stock is not None:
        programs["kube-scheduler"] = stock
    figures = {figure.name: figure for figure in e2e.measure(e2e.SMALL, programs)}
    wanted = OURS | (STOCK if stock is not None else set())
    assert wanted <= figures.keys()
    assert all(math.isfinite(figure.value) and figure.value >= 0 for figure in figures.values())
    assert all(figure.target is None for figure in figures.values()), "targets are set for the full size"
    assert figures["e2e/fill-160-cpu"].value > 0, "the process that was watched is the one that worked"
    assert figures["e2e/writes-per-bound-pod"].value >= 1, "without a write no pod is bound"
