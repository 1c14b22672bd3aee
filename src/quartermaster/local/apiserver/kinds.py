"""Kinds as data: what is served, under which names, with which verbs, subresources and columns.

The built-in kinds are a table made from the published discovery documents (data/kinds.json.xz); custom resource
definitions add rows while the server runs. Everything that differs between kinds and can be said in a table is said
there; code that differs is looked up by `Kind.table`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from quartermaster.local.apiserver.shipped import shipped

EVERY_VERB = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")

STORED_AS = {("events.k8s.io", "events"): "events"}
"""Resources that are another view of a table; all others have a table of their own."""

STORAGE_VERSION = {"horizontalpodautoscalers.autoscaling": ("autoscaling", "v2"), "events": ("", "v1")}
"""What is kept, for tables that are served in several versions."""


@dataclass(frozen=True, slots=True)
class Column:
    """A heading of a server-side table; `path` (JSONPath) only for custom resources."""

    name: str
    type: str
    format: str = ""
    description: str = ""
    priority: int = 0
    path: str = ""

    def definition(self) -> dict[str, Any]:
        """As sent in a Table."""
        return {
            "name": self.name,
            "type": self.type,
            "format": self.format,
            "description": self.description,
            "priority": self.priority,
        }


@dataclass(frozen=True, slots=True)
class Subresource:
    """``status``, ``scale``, ``log`` and so on, with the kind that is sent and answered."""

    name: str
    kind: str
    group: str
    version: str
    verbs: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """One resource in one version.

    `custom` is the schema holder of a custom resource, `backend` who answers for an aggregated one, else None.
    """

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    namespaced: bool
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = EVERY_VERB
    subresources: dict[str, Subresource] = field(default_factory=dict)
    columns: tuple[Column, ...] = ()
    storage_hash: str = ""
    custom: Any = None
    backend: Any = None
    list_kind: str = ""

    @property
    def api_version(self) -> str:
        """``apps/v1``, ``v1``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def table(self) -> str:
        """Where its objects are kept: ``pods``, ``deployments.apps``."""
        name = f"{self.plural}.{self.group}" if self.group else self.plural
        return STORED_AS.get((self.group, self.plural), name)

    @property
    def gvk(self) -> str:
        """Key of schemas: ``apps/v1/Deployment``."""
        return f"{self.group}/{self.version}/{self.kind}"

    @property
    def listed_as(self) -> str:
        """Kind of a list of it."""
        return self.list_kind or self.kind + "List"


def group_version(api_version: str) -> tuple[str, str]:
    """``apps/v1`` to its parts."""
    group, _, version = api_version.rpartition("/")
    return group, version


_DEPRECATED = {
    "endpoints": "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
    "componentstatuses": "v1 ComponentStatus is deprecated in v1.19+",
}


def deprecated(kind: Kind) -> tuple[str, ...]:
    """What is said to those who use a kind that will go."""
    if kind.custom is not None:
        warning: str = kind.custom.deprecation
        return (warning,) if warning else ()
    return (_DEPRECATED[kind.table],) if kind.table in _DEPRECATED else ()


class Registry:
    """All kinds served now. `generation` moves when they change, so that documents made of them can be kept."""

    def __init__(self, kinds: Iterable[Kind] = ()) -> None:
        self.generation = 0
        self._by_path: dict[tuple[str, str, str], Kind] = {}
        self._by_table: dict[str, list[Kind]] = {}
        self._by_kind: dict[tuple[str, str, str], Kind] = {}
        self._versions: Counter[tuple[str, str]] = Counter()
        for kind in kinds:
            self.add(kind)

    def __iter__(self) -> Iterator[Kind]:
        return iter(self._by_path.values())

    def add(self, kind: Kind) -> None:
        """Serve a kind, instead of what was served under its name before."""
        self.remove(kind.group, kind.version, kind.plural)
        self._by_path[kind.group, kind.version, kind.plural] = kind
        self._versions[kind.group, kind.version] += 1
        self._by_table.setdefault(kind.table, []).append(kind)
        self._by_kind[kind.group, kind.version, kind.kind] = kind
        self.generation += 1

    def remove(self, group: str, version: str, plural: str) -> None:
        """Stop serving it; no matter if it never was."""
        kind = self._by_path.pop((group, version, plural), None)
        if kind is None:
            return
        self._by_table[kind.table].remove(kind)
        self._versions[group, version] -= 1
        if self._by_kind.get((group, version, kind.kind)) is kind:
            del self._by_kind[group, version, kind.kind]
        self.generation += 1

    def find(self, group: str, version: str, plural: str) -> Kind | None:
        """By path."""
        return self._by_path.get((group, version, plural))

    def of_kind(self, group: str, version: str, kind: str) -> Kind | None:
        """By group, version and kind."""
        return self._by_kind.get((group, version, kind))

    def stored(self, table: str) -> Kind | None:
        """The version that `table` keeps."""
        served = self._by_table.get(table)
        if not served:
            return None
        wanted = STORAGE_VERSION.get(table)
        for kind in served:
            if (kind.group, kind.version) == wanted or (kind.custom is not None and kind.custom.storage):
                return kind
        return served[0]

    def is_builtin(self, group: str) -> bool:
        """Whether the group is the server's own; definitions may add to it."""
        return any(kind.custom is None for kind in self if kind.group == group)

    def serves(self, group: str, version: str) -> bool:
        """Whether there is anything of this version of a group: asked with every request."""
        return self._versions[group, version] > 0

    def groups(self) -> dict[str, list[str]]:
        """{group: its versions, the preferred one first}, in the order of registration."""
        found: dict[str, list[str]] = {}
        for kind in self:
            versions = found.setdefault(kind.group, [])
            if kind.version not in versions:
                versions.append(kind.version)
        return {
            group: sorted(versions, key=version_priority) if self._custom(group) else versions
            for group, versions in found.items()
        }

    def _custom(self, group: str) -> bool:
        return any(kind.custom is not None for kind in self if kind.group == group)


def version_priority(version: str) -> tuple[int, int, int, str]:
    """Sort key: GA before beta before alpha, larger numbers first, anything else last by name."""
    import re  # noqa: PLC0415

    match = re.fullmatch(r"v([1-9]\d*)(?:(alpha|beta)([1-9]\d*))?", version)
    if not match:
        return (3, 0, 0, version)
    stage = {None: 0, "beta": 1, "alpha": 2}[match[2]]
    return (stage, -int(match[1]), -int(match[3] or 0), "")


def builtin_registry() -> Registry:
    """The kinds of the pinned release."""
    registry = Registry()
    for row in shipped("kinds"):
        registry.add(
            Kind(
                group=row["group"],
                version=row["version"],
                kind=row["kind"],
                plural=row["plural"],
                singular=row["singular"],
                namespaced=row["namespaced"],
                short_names=tuple(row["short"]),
                categories=tuple(row["categories"]),
                verbs=tuple(row["verbs"]),
                storage_hash=row["hash"],
                columns=tuple(Column(**column) for column in row["columns"]),
                subresources={
                    sub["name"]: Subresource(
                        name=sub["name"],
                        kind=sub["kind"],
                        group=sub["group"],
                        version=sub["version"],
                        verbs=tuple(sub["verbs"]),
                    )
                    for sub in row["subresources"]
                },
            )
        )
    return registry
