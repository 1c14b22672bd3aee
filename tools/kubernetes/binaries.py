"""Real Kubernetes components on this machine: which are pinned, where they lie, and how they are built.

`python -m tools.kubernetes.binaries kube-apiserver etcd` builds the named ones (all of them without a name) from the Go
modules beside this file, unless they are there already, and prints their folders. Tests call `locate` only.

A built program lies in a folder of the user's cache that is named after the content of every upstream go.mod and
go.sum here: another pin is another folder, and a folder never holds a mixture. `KUBEBUILDER_ASSETS`, the variable that
envtest uses, goes before it. Each upstream project has a module of its own, see
docs/decisions/0009-kubernetes-tools-module.md. A program of ours (a client that tests run) has one too, and a folder
named after its own pins and source, so that a line changed in it does not build kube-apiserver anew.

What it refuses: it brings no Go and no ready-made binaries. Without a new enough Go it says so in one line and exits 0,
because the rest of the project does not need Kubernetes; a build that fails exits 1.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from quartermaster.local.real.binaries import ASSETS, cache, executable

MODULES = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Binary:
    """One program: its Go package, the module folder that pins it, and the variables that tell it its own version."""

    package: str
    module: str
    requires: str
    """The required module whose version the program reports."""
    stamps: tuple[str, ...] = ()
    """Linker `-X` settings; `{version}`, `{major}` and `{minor}` are filled in from the pin."""
    ours: bool = False
    """Its source is in the module folder; all others are `tool`s of theirs."""


_KUBERNETES_STAMPS = (
    "k8s.io/component-base/version.gitVersion={version}",
    "k8s.io/component-base/version.gitMajor={major}",
    "k8s.io/component-base/version.gitMinor={minor}",
)
BINARIES: Mapping[str, Binary] = {
    **{
        name: Binary(
            package=f"k8s.io/kubernetes/cmd/{name}",
            module="kubernetes",
            requires="k8s.io/kubernetes",
            stamps=_KUBERNETES_STAMPS,
        )
        for name in ("kube-apiserver", "kubectl", "kube-scheduler", "kube-controller-manager")
    },
    "etcd": Binary(package="go.etcd.io/etcd/server/v3", module="etcd", requires="go.etcd.io/etcd/server/v3"),
    "helm": Binary(
        package="helm.sh/helm/v4/cmd/helm",
        module="helm",
        requires="helm.sh/helm/v4",
        stamps=("helm.sh/helm/v4/internal/version.version={version}",),
    ),
    "kwok": Binary(package="sigs.k8s.io/kwok/cmd/kwok", module="kwok", requires="sigs.k8s.io/kwok"),
    "informers": Binary(package=".", module="informers", requires="k8s.io/client-go", ours=True),
    "scraping": Binary(package=".", module="scraping", requires="github.com/prometheus/prometheus", ours=True),
}


def folder(environment: Mapping[str, str] = os.environ, *, of: str = "") -> Path:
    """The cache folder of exactly these pins; `of` names a program of ours. It need not exist."""
    ours = {binary.module for binary in BINARIES.values() if binary.ours}
    if of and BINARIES[of].ours:
        found = [*(MODULES / BINARIES[of].module).glob("*.*")]
    else:
        found = [path for name in ("go.mod", "go.sum") for path in MODULES.glob(f"*/{name}")]
        found = [path for path in found if path.parent.name not in ours]
    digest = hashlib.sha256()
    for path in sorted(found):
        digest.update(f"{path.relative_to(MODULES)}\n".encode() + path.read_bytes())
    return cache(environment) / digest.hexdigest()[:12]


def locate(name: str, environment: Mapping[str, str] = os.environ) -> Path | None:
    """The executable `name`: from `KUBEBUILDER_ASSETS` if it is there, else as built from these pins, else None."""
    assets = environment.get(ASSETS)
    for place in ([Path(assets)] if assets else []) + [folder(environment, of=name)]:
        path = place / name
        if executable(path):
            return path
    return None


def version(binary: Binary) -> str:
    """The version that the module file pins, such as `v1.36.3`."""
    text = (MODULES / binary.module / "go.mod").read_text(encoding="utf-8")
    found = re.search(rf"^(?:require)?\s+{re.escape(binary.requires)} (v\S+)", text, re.MULTILINE)
    if found is None:
        raise ValueError(f"{binary.module}/go.mod: does not require {binary.requires}")
    return found[1]


def missing_go() -> str | None:
    """Why Go cannot build these modules, in a few words; None if it can."""
    if shutil.which("go") is None:
        return "no Go on this machine"
    for module in sorted({binary.module for binary in BINARIES.values()}):
        answer = subprocess.run(
            ["go", "env", "GOVERSION"], cwd=MODULES / module, capture_output=True, text=True, check=False
        )
        wanted = re.search(r"^go (\d+)\.(\d+)", (MODULES / module / "go.mod").read_text(encoding="utf-8"), re.MULTILINE)
        got = re.search(r"go(\d+)\.(\d+)", answer.stdout)
        assert wanted is not None, f"{module}/go.mod has no go line"
        if answer.returncode or got is None or tuple(map(int, got.groups())) < tuple(map(int, wanted.groups())):
            return f"{answer.stdout.strip() or 'this Go'} is older than go{wanted[1]}.{wanted[2]}"
    return None


def build(name: str, *, jobs: int | None = None) -> Path:
    """Build one program into its `folder` and return its path. Raises `CalledProcessError` with what Go said."""
    binary = BINARIES[name]
    pinned = version(binary)
    major, minor = pinned.removeprefix("v").split(".")[:2]
    stamps = [f"-X {stamp.format(version=pinned, major=major, minor=minor)}" for stamp in binary.stamps]
    target = folder(of=name) / name
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{name}.{os.getpid()}")
    command = ["go", "build", "-trimpath", "-buildvcs=false", "-ldflags", " ".join(["-s -w", *stamps])]
    command += ["-p", str(jobs)] if jobs else []
    try:
        subprocess.run(
            [*command, "-o", str(unfinished), binary.package],
            cwd=MODULES / binary.module,
            env={**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"},
            stderr=subprocess.PIPE,
            text=True,
            check=True,
        )
        unfinished.replace(target)  # whoever looks meanwhile sees a whole program or none
    finally:
        unfinished.unlink(missing_ok=True)
    return target


def main(arguments: Sequence[str]) -> int:
    """Build what is missing; exit status."""
    parser = argparse.ArgumentParser(prog="binaries", description="Build pinned Kubernetes components into the cache.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BINARIES)}; all without a name")
    parser.add_argument("--jobs", type=int, help="processes that Go may start (default: one per core)")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - set(BINARIES))
    if unknown:
        parser.error(f"NAME: {unknown[0]} is not pinned; take of {', '.join(BINARIES)}")
    wanted = [name for name in options.names or BINARIES if locate(name) is None]
    reason = missing_go() if wanted else None
    if reason is not None:
        print(f"kubernetes: NOT BUILT: {reason}; tests against a real Kubernetes will not run", file=sys.stderr)
        return 0
    for name in wanted:
        print(f"kubernetes: building {name} {version(BINARIES[name])}", file=sys.stderr, flush=True)
        try:
            build(name, jobs=options.jobs)
        except subprocess.CalledProcessError as failure:
            said = [line for line in failure.stderr.splitlines() if not line.startswith("go: downloading ")]
            print(*said, f"kubernetes: FAILED to build {name}; see the lines above", sep="\n", file=sys.stderr)
            return 1
    for place in dict.fromkeys(folder(of=name) for name in options.names or BINARIES):
        print(place)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
