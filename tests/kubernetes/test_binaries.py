"""Where binaries are looked for, what their folder is called, and what is said without Go."""

import shutil
from pathlib import Path

import pytest

from tools.kubernetes import binaries


@pytest.fixture
def cache(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CACHE_HOME": str(tmp_path / "cache")}


def program(path: Path, *, executable: bool = True) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n", encoding="utf-8")
    path.chmod(0o755 if executable else 0o644)
    return path


def test_a_built_binary_is_found_in_the_cache(cache: dict[str, str]) -> None:
    assert binaries.locate("etcd", cache) is None
    etcd = program(binaries.folder(cache) / "etcd")
    assert binaries.locate("etcd", cache) == etcd


def test_the_variable_of_envtest_goes_before_the_cache(cache: dict[str, str], tmp_path: Path) -> None:
    built = program(binaries.folder(cache) / "etcd")
    assets = cache | {"KUBEBUILDER_ASSETS": str(tmp_path / "assets")}
    assert binaries.locate("etcd", assets) == built
    own = program(tmp_path / "assets" / "etcd")
    assert binaries.locate("etcd", assets) == own


def test_a_file_that_cannot_run_is_no_binary(cache: dict[str, str]) -> None:
    program(binaries.folder(cache) / "etcd", executable=False)
    assert binaries.locate("etcd", cache) is None


def test_another_pin_is_another_folder(cache: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("go.mod", "module a\n"), ("go.sum", "")):
        path = tmp_path / "modules" / "etcd" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    monkeypatch.setattr(binaries, "MODULES", tmp_path / "modules")
    before = binaries.folder(cache)
    assert binaries.folder(cache) == before
    (tmp_path / "modules" / "etcd" / "go.sum").write_text("x v1 h1:=\n", encoding="utf-8")
    assert binaries.folder(cache) != before


@pytest.mark.parametrize("name", binaries.BINARIES)
def test_every_binary_is_pinned_by_its_module_and_is_a_tool_of_it(name: str) -> None:
    binary = binaries.BINARIES[name]
    assert binaries.version(binary).startswith("v")
    text = (binaries.MODULES / binary.module / "go.mod").read_text(encoding="utf-8")
    assert binary.ours or f"tool {binary.package}\n" in text


def test_a_program_of_ours_is_another_one_with_another_source_and_leaves_the_rest_alone(
    cache: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(binaries.MODULES, tmp_path / "modules")
    monkeypatch.setattr(binaries, "MODULES", tmp_path / "modules")
    own, rest = binaries.folder(cache, of="informers"), binaries.folder(cache, of="etcd")
    assert own != rest
    for name in ("go.mod", "go.sum", "main.go"):
        before = binaries.folder(cache, of="informers")
        with (tmp_path / "modules" / "informers" / name).open("a", encoding="utf-8") as file:
            file.write("// more\n")
        assert binaries.folder(cache, of="informers") != before
    assert binaries.folder(cache, of="etcd") == rest
    built = program(binaries.folder(cache, of="informers") / "informers")
    assert binaries.locate("informers", cache) == built


def test_the_kubernetes_module_holds_every_staging_module_at_the_same_release() -> None:
    release = binaries.version(binaries.BINARIES["kube-apiserver"])
    text = (binaries.MODULES / "kubernetes" / "go.mod").read_text(encoding="utf-8")
    replaced = [line.split(" => ")[1].split()[1] for line in text.splitlines() if " => k8s.io/" in line]
    assert len(replaced) >= 30
    assert {*replaced} == {release.replace("v1.", "v0.", 1)}
    assert binaries.version(binaries.BINARIES["informers"]) == release.replace("v1.", "v0.", 1)


def test_without_go_it_says_so_in_one_line_and_goes_on(
    cache: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", cache["XDG_CACHE_HOME"])
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert binaries.main(["etcd"]) == 0
    out, err = capfd.readouterr()
    assert out == ""
    assert err == "kubernetes: NOT BUILT: no Go on this machine; tests against a real Kubernetes will not run\n"


def test_a_go_that_is_too_old_counts_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = program(tmp_path / "go")
    old.write_text("#!/bin/sh\necho go1.19.8\n", encoding="utf-8")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert binaries.missing_go() == "go1.19.8 is older than go1.26"


def test_a_build_that_fails_fails(
    cache: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = program(tmp_path / "go")
    broken.write_text(
        '#!/bin/sh\n[ "$1" = env ] && echo go1.99.0 && exit 0\necho "go: downloading x" >&2\necho broken >&2\nexit 1\n',
        encoding="utf-8",
    )
    monkeypatch.setenv("XDG_CACHE_HOME", cache["XDG_CACHE_HOME"])
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert binaries.main(["etcd"]) == 1
    assert capfd.readouterr().err.splitlines()[1:] == [
        "broken",
        "kubernetes: FAILED to build etcd; see the lines above",
    ]
    assert list(binaries.folder(cache).iterdir()) == []


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        binaries.main(["kubelet"])
    assert "kubelet is not pinned" in capsys.readouterr().err
