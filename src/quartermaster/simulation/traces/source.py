"""How a trace is named before it is read: a shipped one by name, or a format and the user's files.

A source is small and picklable, so that worker processes are sent it and load the trace themselves. What does not
belong together is refused when the source is made; what is in the files, when it is loaded.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from quartermaster.model.errors import InvalidInput
from quartermaster.simulation.traces.catalogue import find
from quartermaster.simulation.traces.cluster import (
    ClusterShape,
    ClusterTrace,
    OverheadRule,
)
from quartermaster.simulation.traces.formats import FORMATS, Format
from quartermaster.simulation.traces.itp import read_itp
from quartermaster.simulation.traces.jobs import JobTrace
from quartermaster.simulation.traces.muri import read_muri
from quartermaster.simulation.traces.openb import read_openb
from quartermaster.simulation.traces.philly import read_philly
from quartermaster.simulation.traces.pollux import read_pollux
from quartermaster.simulation.traces.shipped import shipped
from quartermaster.simulation.traces.table import File

_JOB_READERS: Final[Mapping[str, Callable[..., JobTrace]]] = {
    "philly-muri": read_muri,
    "philly": read_philly,
    "itp-2021": read_itp,
    "philly-pollux": read_pollux,
}

_ROLES: Final = ("nodes", "pods", "jobs")


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSource:
    """A `name` of the catalogue, or a `format` with its files (`nodes` and `pods`, or `jobs`).

    The rest are options, see `formats()`. With a name, `cluster`, `queue` and `overhead_rule` replace the defaults of
    a job trace.
    """

    name: str = ""
    format: str = ""
    nodes: str = ""
    pods: str = ""
    jobs: str = ""
    cluster: ClusterShape | None = None
    queue: str = ""
    overhead_rule: OverheadRule | None = None
    allow_unknown_models: bool = False

    def __post_init__(self) -> None:
        if bool(self.name) == bool(self.format):
            problem = "both a name and a format" if self.name else "neither a name nor a format"
            raise InvalidInput(
                "trace",
                problem,
                "give the name of a shipped trace, or a format and its files",
            )
        form = _format(find(self.name).format if self.name else self.format)
        wanted = {file.role for file in form.files} if self.format else set()
        for role in _ROLES:
            given = bool(getattr(self, role))
            if given and role not in wanted:
                whose = f"format '{form.name}'" if self.format else f"shipped trace '{self.name}'"
                names = " and ".join(role for role in _ROLES if role in wanted)
                fix = f"give {names}" if self.format else "leave it out, or give a format"
                raise InvalidInput(f"trace: {role}", f"{whose} takes no file of {role}", fix)
            if role in wanted and not given:
                raise InvalidInput(
                    f"trace: {role}",
                    "is not given",
                    f"format '{form.name}' wants a file of {role}",
                )
        self._check_options(form)

    def _check_options(self, form: Format) -> None:
        known = [option for option, _ in form.options]
        for option in ("cluster", "queue", "overhead_rule", "allow_unknown_models"):
            if getattr(self, option) and option not in known:
                raise InvalidInput(
                    f"trace: {option}",
                    f"is no option of format '{form.name}'",
                    "leave it out",
                )
        if form.has_jobs and self.format and self.cluster is None:
            raise InvalidInput(
                "trace: cluster",
                "is not given",
                "give NODESxGPUS, such as 8x8: job files name no nodes",
            )
        if self.name and self.queue and form.name == "philly":
            fix = f"give the name 'philly/{self.queue}'"
            raise InvalidInput("trace: queue", "is part of a shipped Philly trace's name", fix)

    def load(self) -> ClusterTrace | JobTrace:
        """Read the files."""
        entry = find(self.name) if self.name else None
        files: dict[str, File]
        if entry is not None:
            files = {role: shipped(path) for role, path in entry.files}
            name, form = entry.name, entry.format
            cluster, queue = self.cluster or entry.cluster, self.queue or entry.queue
        else:
            files = {role: Path(getattr(self, role)) for role in _ROLES if getattr(self, role)}
            name = Path(self.pods or self.jobs).name.removesuffix(".gz").removesuffix(".csv")
            form, cluster, queue = self.format, self.cluster, self.queue
        if form == "openb":
            return read_openb(**files, name=name, allow_unknown_models=self.allow_unknown_models)
        options: dict[str, Any] = {"queue": queue, "overhead_rule": self.overhead_rule}
        given = {option: value for option, value in options.items() if value}
        return _JOB_READERS[form](**files, cluster=cluster, name=name, **given)


def _format(name: str) -> Format:
    known = {form.name: form for form in FORMATS}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise InvalidInput(
        "trace: format",
        f"there is no format '{name}'",
        f"{hint}formats are {', '.join(known)}",
    )
