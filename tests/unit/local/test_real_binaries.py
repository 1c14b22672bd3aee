"""Where the programs of a real control plane are looked for. Empty files stand in for them: none is run."""

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from quartermaster.local.real.binaries import cache, locate
from quartermaster.model.errors import InvalidInput

NEEDED = ("kube-apiserver", "etcd")


def programs(folder: Path, names: Iterable[str], *, age: int = 0) -> Path:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch(mode=0o755)
    os.utime(folder, (1_000_000 - age, 1_000_000 - age))
    return folder


def test_the_newest_folder_that_has_all_is_taken_and_no_mixture(tmp_path: Path) -> None:
    environment = {"XDG_CACHE_HOME": str(tmp_path)}
    old = programs(cache(environment) / "old", (*NEEDED, "kube-controller-manager"), age=2)
    middle = programs(cache(environment) / "middle", NEEDED, age=1)
    programs(cache(environment) / "new", ("kube-apiserver",))
    found = locate(NEEDED, useful=("kube-controller-manager",), environment=environment)
    assert found == {name: middle / name for name in NEEDED}
    assert locate(("kube-controller-manager",), environment=environment) == {
        "kube-controller-manager": old / "kube-controller-manager"
    }


def test_the_folder_that_the_user_names_goes_first(tmp_path: Path) -> None:
    environment = {"XDG_CACHE_HOME": str(tmp_path), "KUBEBUILDER_ASSETS": str(tmp_path / "mine")}
    programs(cache(environment) / "built", NEEDED)
    mine = programs(tmp_path / "mine", (*NEEDED, "kubectl"), age=9)
    assert locate(NEEDED, useful=("kubectl",), environment=environment)["kubectl"] == mine / "kubectl"


def test_what_cannot_be_run_is_not_there(tmp_path: Path) -> None:
    environment = {"XDG_CACHE_HOME": str(tmp_path)}
    folder = programs(cache(environment) / "built", NEEDED)
    (folder / "etcd").chmod(0o644)
    with pytest.raises(InvalidInput, match=r"are not in .*built; .*make kubernetes.*KUBEBUILDER_ASSETS"):
        locate(NEEDED, environment=environment)
