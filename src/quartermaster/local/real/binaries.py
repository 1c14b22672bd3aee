"""Where real Kubernetes programs lie on this machine: in `KUBEBUILDER_ASSETS`, else as `make kubernetes` built them.

The variable is envtest's. A folder of the cache belongs to one set of pinned versions (tools/kubernetes in the
repository, which is not installed with the package), so all programs come out of one folder: the newest that has them.
Refuses to bring any: no program is downloaded or built here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from quartermaster.model.errors import InvalidInput

ASSETS = "KUBEBUILDER_ASSETS"


def cache(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder of folders that `make kubernetes` builds into. It need not exist."""
    home = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "quartermaster" / "kubernetes"


def executable(path: Path) -> bool:
    """Whether there is a program."""
    return path.is_file() and os.access(path, os.X_OK)


def locate(
    needed: Sequence[str], *, useful: Sequence[str] = (), environment: Mapping[str, str] = os.environ
) -> dict[str, Path]:
    """The programs by name: all that are `needed`, and what there is beside them of those that are `useful`.

    Raises InvalidInput if no folder has all that are needed.
    """
    folders = sorted(cache(environment).glob("*/"), key=lambda folder: folder.stat().st_mtime, reverse=True)
    if environment.get(ASSETS):
        folders.insert(0, Path(environment[ASSETS]))
    for folder in folders:
        if all(executable(folder / name) for name in needed):
            return {name: folder / name for name in (*needed, *useful) if executable(folder / name)}
    raise InvalidInput(
        f"--api real: {' and '.join(needed)}",
        "are not on this machine" if not folders else f"are not in {folders[0]}",
        f"build them in the repository (make kubernetes; needs Go), or name their folder in {ASSETS}",
    )
