"""How stored bytes become what a client asked for: another version, a table, metadata alone, YAML.

The stored form is sent as it is, and is the common case; everything else decodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from quartermaster.local.apiserver.cluster import Cluster, head
from quartermaster.local.apiserver.codec import encode, load
from quartermaster.local.apiserver.conversion import convert
from quartermaster.local.apiserver.errors import Json
from quartermaster.local.apiserver.kinds import Kind
from quartermaster.local.apiserver.negotiation import Form
from quartermaster.local.apiserver.protobuf import Protobuf
from quartermaster.local.apiserver.store import Record
from quartermaster.local.apiserver.tables import table_of

META = "meta.k8s.io"

_VERSIONED = {"daemonsets.apps": "deprecated.daemonset.template.generation"}
"""By table, an annotation that is a field of the object where it is not written in a version."""


@dataclass(slots=True)
class View:
    """One kind in one form, for one request. `include` is includeObject of tables: Metadata, Object or None."""

    cluster: Cluster
    kind: Kind
    form: Form
    include: str = "Metadata"
    protobuf: Protobuf | None = None
    """Set if the events of a watch go out as protobuf; whole answers become that elsewhere."""
    headings: bool = True
    """Whether a table still has to say its columns: the events of a watch do so once."""

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for views that send the same bytes."""
        return (self.kind.gvk, id(self.kind.custom), self.form, self.include, self.headings)

    @property
    def stored(self) -> bool:
        """Whether records are sent as they are."""
        return self.form.shape == "object" and self._storage() is self.kind

    def _storage(self) -> Kind:
        return self.cluster.registry.stored(self.kind.table) or self.kind

    @property
    def _meta(self) -> str:
        return f"{META}/{self.form.version}"

    def check(self) -> None:
        """Raises ApiError 500 if objects cannot be shown in this version, before a watch finds that out."""
        convert({}, self._storage(), self.kind)

    def value(self, raw: bytes) -> Json:
        """A stored object in this version, decoded."""
        return convert(load(raw), self._storage(), self.kind)

    def bytes_of(self, raw: bytes) -> bytes:
        """One stored object as this client wants it."""
        if self.stored:
            return raw
        return encode(self.present(self.value(raw)))

    def present(self, value: Json) -> Json:
        """An object of this version, in this form."""
        if self.form.shape == "metadata":
            return self._partial(value)
        if self.form.shape == "table":
            table = self._table([convert(value, self.kind, self._storage())])
            if not self.headings:
                table["columnDefinitions"] = None
            return table | {"metadata": {"resourceVersion": value["metadata"].get("resourceVersion", "")}}
        return value

    def _table(self, values: list[Json]) -> Json:
        """Tables are made of what is stored, whatever version was asked for."""
        for value in values:
            self._bare(value)
        made = table_of(self.kind, values, now=self.cluster.clock(), include="None" if self._whole else self.include)
        if self._whole:
            for row, value in zip(made["rows"], values, strict=True):
                row["object"] = convert(value, self._storage(), self.kind)
        if self.form.version != "v1":
            made["apiVersion"] = self._meta
            for row in made["rows"] if self.include != "Object" else ():
                if row.get("object"):
                    row["object"]["apiVersion"] = self._meta
        return made

    @property
    def _whole(self) -> bool:
        """Whether rows carry objects of another version than the stored."""
        return self.include == "Object" and self._storage() is not self.kind

    def _partial(self, value: Json) -> Json:
        return {"kind": "PartialObjectMetadata", "apiVersion": self._meta, "metadata": self._bare(value)["metadata"]}

    def _bare(self, value: Json) -> Json:
        """Without what only the whole object in its own version says."""
        gone = _VERSIONED.get(self.kind.table)
        annotations = value["metadata"].get("annotations")
        if (
            gone
            and annotations
            and gone in annotations
            and not (self.form.shape == "table" and self.include == "Object")
        ):
            del annotations[gone]
            if not annotations:
                del value["metadata"]["annotations"]
        return value

    def event(self, kind: bytes, record: Record, forms: dict[object, bytes] | None) -> bytes:
        """One line of a watch. `forms` keeps encodings that other watchers can use too."""
        if self.stored and self.protobuf is None:
            return b'{"type":"' + kind + b'","object":' + record.raw + b"}\n"
        key = (*self.key, record.revision, kind)
        known = forms.get(key) if forms is not None else None
        line = known if known is not None else self.line(kind, self.bytes_of(record.raw))
        if forms is not None:
            forms[key] = line
        self.headings = False
        return line

    def line(self, kind: bytes, body: bytes) -> bytes:
        """An event of anything that is JSON."""
        if self.protobuf is not None:
            return self.protobuf.event(kind, load(body))
        return b'{"type":"' + kind + b'","object":' + body + b"}\n"

    def listing(self, records: Iterable[Record], metadata: Json) -> bytes:
        """A list. Those of custom resources always say whether they go on."""
        if self.kind.custom is not None and self.form.shape == "object":
            metadata = {"continue": ""} | metadata
        if self.form.shape == "table":
            values = [load(record.raw) for record in records]
            return encode(self._table(values) | {"metadata": metadata})
        if self.form.shape == "metadata":
            items = [self._partial(load(record.raw)) for record in records]
            return encode(
                {"kind": "PartialObjectMetadataList", "apiVersion": self._meta, "metadata": metadata, "items": items}
            )
        start = encode({"kind": self.kind.listed_as, "apiVersion": self.kind.api_version, "metadata": metadata})[:-1]
        return start + b',"items":[' + b",".join(self._items(records)) + b"]}"

    def _items(self, records: Iterable[Record]) -> list[bytes]:
        if self.kind.custom is not None:
            return [record.raw if self.stored else encode(self.value(record.raw)) for record in records]
        if not self.stored:
            named = ("kind", "apiVersion")
            values = (self.value(record.raw) for record in records)
            return [encode({key: item for key, item in value.items() if key not in named}) for value in values]
        # Items of typed lists do not repeat what the list says.
        cut = len(head(self.kind))
        return [b"{" + record.raw[cut:] for record in records]


ViewOf = Callable[[Kind], View]
