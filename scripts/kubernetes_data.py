"""Make the data of the embedded API server from the Kubernetes sources, as published in Go modules.

``python scripts/kubernetes_data.py 1.36.3`` reads k8s.io/kubernetes and its staging modules through the ordinary Go
client (which checks them against the checksum database) and rewrites src/quartermaster/local/apiserver/data and the
protobuf samples of the tests. Everything is data as published (discovery, OpenAPI, field numbers, column headings);
no Go code is carried over. Run it when the served version changes; the result is committed.
"""

from __future__ import annotations

import json
import lzma
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "src/quartermaster/local/apiserver/data"
SAMPLES = ROOT / "tests/unit/local/data/protobuf-samples.json.xz"

SERVED = (
    "api/v1",
    "apis/apiregistration.k8s.io/v1",
    "apis/apps/v1",
    "apis/events.k8s.io/v1",
    "apis/authentication.k8s.io/v1",
    "apis/authorization.k8s.io/v1",
    "apis/autoscaling/v2",
    "apis/autoscaling/v1",
    "apis/batch/v1",
    "apis/certificates.k8s.io/v1",
    "apis/networking.k8s.io/v1",
    "apis/policy/v1",
    "apis/rbac.authorization.k8s.io/v1",
    "apis/storage.k8s.io/v1",
    "apis/admissionregistration.k8s.io/v1",
    "apis/apiextensions.k8s.io/v1",
    "apis/scheduling.k8s.io/v1",
    "apis/scheduling.k8s.io/v1alpha2",
    "apis/coordination.k8s.io/v1",
    "apis/node.k8s.io/v1",
    "apis/discovery.k8s.io/v1",
    "apis/resource.k8s.io/v1",
    "apis/flowcontrol.apiserver.k8s.io/v1",
)
"""Group versions served, in the order in which kube-apiserver lists them (its priorities)."""

ALSO_DESCRIBED = ("api", "apis", "version", ".well-known/openid-configuration", "openid/v1/jwks")
"""What has an OpenAPI document besides group versions and groups."""

SCALARS = {"string", "bytes", "bool", "int32", "int64", "uint32", "uint64", "double", "float"}


def main() -> int:
    """Write all files."""
    minor_patch = sys.argv[1].removeprefix("1.")
    kubernetes = module("k8s.io/kubernetes", f"v1.{minor_patch}")
    staging = {
        name: module(f"k8s.io/{name}", f"v0.{minor_patch}")
        for name in ("api", "apimachinery", "apiextensions-apiserver", "kube-aggregator")
    }
    DATA.mkdir(parents=True, exist_ok=True)
    SAMPLES.parent.mkdir(parents=True, exist_ok=True)
    documents = {}
    for served in SERVED:
        name = served.replace("/", "__") + "_openapi.json"
        documents[served] = json.loads((kubernetes / "api/openapi-spec/v3" / name).read_text())
    write("openapi-v3", described(kubernetes, documents))
    write("openapi-v2", json.loads((kubernetes / "api/openapi-spec/swagger.json").read_text()))
    tags = go_tags(staging)
    made = schemas(documents)
    as_in_go(made["definitions"], tags)
    write("schemas", {"version": sys.argv[1], **made, "zero": fields_with(tags, "o"), "always": fields_with(tags, "")})
    write("kinds", kinds(kubernetes, columns(kubernetes, staging)))
    write("protobuf", protobuf(staging, tags))
    write("rights", rights(kubernetes))
    pairs = {}
    for path in sorted((staging["api"] / "testdata/HEAD").glob("*.pb")):
        group_version = path.name.rsplit(".", 2)[0]
        if path.stem.rpartition(".")[2] in ("APIGroup", "APIVersions", "GetOptions", "WatchEvent"):
            continue  # never sent to a server
        if any(group_version.endswith(served.removeprefix("apis/").replace("/", ".")) for served in SERVED[1:]) or (
            group_version == "core.v1"
        ):
            pairs[path.stem] = [path.read_bytes().hex(), json.loads(path.with_suffix(".json").read_text())]
    SAMPLES.write_bytes(packed(pairs))
    return 0


def module(path: str, version: str) -> Path:
    """Where the Go client keeps a module, downloading it if need be."""
    done = subprocess.run(  # noqa: S603
        ["go", "mod", "download", "-json", f"{path}@{version}"],  # noqa: S607
        check=True,
        capture_output=True,
        cwd="/",
    )
    return Path(json.loads(done.stdout)["Dir"])


def packed(value: object) -> bytes:
    """JSON in xz, the same bytes every time."""
    text = json.dumps(value, separators=(",", ":"), sort_keys=False, ensure_ascii=False)
    return lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME)


def write(name: str, value: object) -> None:
    """One data file."""
    (DATA / f"{name}.json.xz").write_bytes(packed(value))


def schemas(documents: dict[str, Any]) -> dict[str, Any]:
    """Definitions without prose, and which definition is which kind."""
    definitions: dict[str, Any] = {}
    kinds_of: dict[str, str] = {}
    for document in documents.values():
        for name, schema in document["components"]["schemas"].items():
            definitions[name] = stripped(schema)
            for gvk in schema.get("x-kubernetes-group-version-kind", ()):
                if not name.startswith("io.k8s.apimachinery"):
                    kinds_of[f"{gvk['group']}/{gvk['version']}/{gvk['kind']}"] = name
    for schema in definitions.values():
        schema.pop("x-kubernetes-group-version-kind", None)
    return {"definitions": definitions, "kinds": kinds_of}


def described(kubernetes: Path, documents: dict[str, Any]) -> dict[str, Any]:
    """The documents as kube-apiserver serves them by default.

    The published ones were made with all alpha features, so with CBOR, and without values of enums. Those are in the
    generated Go code.
    """
    release = ".".join(kubernetes.name.rpartition("@v")[2].split(".")[:2])
    groups = {path.rpartition("/")[0] for path in documents if path.startswith("apis/")}
    found = dict(documents)
    for path in (*ALSO_DESCRIBED, *groups):
        name = path.replace("/", "__") + "_openapi.json"
        found[path] = json.loads((kubernetes / "api/openapi-spec/v3" / name).read_text())
    values = enums((kubernetes / "pkg/generated/openapi/zz_generated.openapi.go").read_text())
    for path in sorted(found):
        document = found[path] = without_cbor(found[path])
        document["info"]["version"] = release
        for name, schema in document.get("components", {}).get("schemas", {}).items():
            for field, (description, allowed) in values.get(".".join(name.split(".")[-3:]), {}).items():
                where = schema["properties"][field]
                where["description"] = description
                where.get("items", where)["enum"] = allowed
    return {path: found[path] for path in sorted(found)}


def without_cbor(value: Any) -> Any:
    """Every media type but CBOR's."""
    if isinstance(value, list):
        return [without_cbor(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: without_cbor(item)
        for key, item in value.items()
        if not (key.startswith("application/") and ("cbor" in key.rpartition("/")[2]))
    }


def enums(text: str) -> dict[str, dict[str, tuple[str, list[str]]]]:
    """{``group.version.Type``: {field: (description, values)}} of the generated OpenAPI code."""
    function = re.compile(r"^func schema_\w*?([a-z0-9]+)_(v\d\w*?)_(\w+)\(ref .*?^}", re.MULTILINE | re.DOTALL)
    field = re.compile(
        r'^\t{5}"(\w+)": \{\n(?:(?!^\t{5}"\w+": \{$).)*?Description: ("(?:[^"\\]|\\.)*"),\n'
        r'(?:(?!^\t{5}"\w+": \{$).)*?Enum: +\[\]interface\{\}\{([^}]*)\}',
        re.MULTILINE | re.DOTALL,
    )
    found: dict[str, dict[str, tuple[str, list[str]]]] = {}
    for match in function.finditer(text):
        fields = {
            name: (json.loads(prose), json.loads(f"[{values}]")) for name, prose, values in field.findall(match[0])
        }
        if fields:
            found[".".join(match.groups()[:3])] = fields
    return found


def stripped(schema: Any) -> Any:
    """Without descriptions (a property may be called description: that one stays)."""
    if isinstance(schema, list):
        return [stripped(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {}
    for key, value in schema.items():
        if key == "description" and isinstance(value, str):
            continue
        result[key] = (
            {name: stripped(inner) for name, inner in value.items()} if key == "properties" else stripped(value)
        )
    return result


def kinds(kubernetes: Path, columns_of: dict[str, Any]) -> list[dict[str, Any]]:
    """The table of kinds: one row per resource, its subresources inside."""
    rows = []
    for served in SERVED:
        document = json.loads((kubernetes / "api/discovery" / (served.replace("/", "__") + ".json")).read_text())
        group, _, version = served.removeprefix("apis/").removeprefix("api/").rpartition("/")
        found: dict[str, dict[str, Any]] = {}
        for resource in document["resources"]:
            plural, _, subresource = resource["name"].partition("/")
            if not subresource:
                found[plural] = {
                    "group": group,
                    "version": version,
                    "kind": resource["kind"],
                    "plural": plural,
                    "singular": resource["singularName"],
                    "namespaced": resource["namespaced"],
                    "short": resource.get("shortNames", []),
                    "categories": resource.get("categories", []),
                    "verbs": resource["verbs"],
                    "hash": resource.get("storageVersionHash", ""),
                    "columns": columns_of.get(plural, []),
                    "subresources": [],
                }
        for resource in document["resources"]:
            plural, _, subresource = resource["name"].partition("/")
            if subresource:
                found[plural]["subresources"].append(
                    {
                        "name": subresource,
                        "kind": resource["kind"],
                        "group": resource.get("group", group),
                        "version": resource.get("version", version),
                        "verbs": resource["verbs"],
                    }
                )
        rows += found.values()
    return rows


def rights(kubernetes: Path) -> list[dict[str, Any]]:
    """The roles and bindings that every cluster has from its start."""
    folder = kubernetes / "plugin/pkg/auth/authorizer/rbac/bootstrappolicy/testdata"
    names = ("cluster-roles", "controller-roles", "namespace-roles")
    names += ("cluster-role-bindings", "controller-role-bindings", "namespace-role-bindings")
    return [item for name in names for item in yaml.safe_load((folder / f"{name}.yaml").read_text())["items"]]


def columns(kubernetes: Path, staging: dict[str, Path]) -> dict[str, Any]:
    """Column headings of server-side tables, by plural."""
    text = (kubernetes / "pkg/printers/internalversion/printers.go").read_text()
    packages = dict(re.findall(r'^\t(\w+) +"k8s\.io/((?:api|apimachinery)/[\w/]+)"', text, re.MULTILINE))
    docs: dict[str, dict[str, dict[str, str]]] = {}
    for alias, package in packages.items():
        name, _, inner = package.partition("/")
        path = staging[name] / inner / "types_swagger_doc_generated.go"
        docs[alias] = swagger_docs(path.read_text()) if path.exists() else {}

    def embedded(alias: str, of: str, field: str | None) -> str:
        """The type of a field of a type."""
        name, _, inner = packages[alias].partition("/")
        types = (staging[name] / inner / "types.go").read_text() if field else ""
        struct = re.search(rf"^type {of} struct \{{(.*?)^\}}", types, re.DOTALL | re.MULTILINE)
        declared = re.search(rf"^\t{field} +(\w+)", struct[1], re.MULTILINE) if struct else None
        return declared[1] if declared else ""

    found: dict[str, list[Any]] = {}
    for variable, body in re.findall(r"(\w+) :?= \[\]metav1\.TableColumnDefinition\{\n(.*?)\n\t\}", text, re.DOTALL):
        handler = re.search(rf"TableHandler\({variable}, print(\w+?)(?:List)?\)", text)
        if not handler:
            continue
        rows = []
        for line in (line for line in body.splitlines() if "Name:" in line):
            row: dict[str, Any] = dict(re.findall(r'(Name|Type|Format): "([^"]*)"', line))
            priority = re.search(r"Priority: (\d)", line)
            literal = re.search(r'Description: "([^"]*)"', line)
            looked_up = re.search(r'Description: (\w+)\.(\w+)\{\}(?:\.(\w+))?\.SwaggerDoc\(\)\["(\w+)"\]', line)
            description = literal[1] if literal else ""
            if looked_up:
                alias, of, field, key = looked_up.groups()
                known = docs.get(alias, {})
                description = known.get(of, {}).get(key) or known.get(embedded(alias, of, field), {}).get(key, "")
            rows.append(
                {
                    "name": row["Name"],
                    "type": row["Type"],
                    "format": row.get("Format", ""),
                    "description": description,
                    "priority": int(priority[1]) if priority else 0,
                }
            )
        found[handler[1].lower()] = rows
    return Plurals(found)


class Plurals(dict[str, Any]):
    """Columns by plural, from names of print functions."""

    def get(self, plural: str, default: Any = None) -> Any:
        """The columns of `plural`."""
        for singular, rows in self.items():
            endings = (
                singular,
                singular + "s",
                singular + "es",
                singular.removesuffix("y") + "ies",
                f"{singular}configurations",
            )
            if plural in endings:
                return rows
        return default


def swagger_docs(text: str) -> dict[str, dict[str, str]]:
    """{type: {field: description}} of a generated file."""
    found = {}
    for name, body in re.findall(r"var map_(\w+) = map\[string\]string\{\n(.*?)\n\}", text, re.DOTALL):
        entries = re.findall(r'^\t"(\w*)": +"((?:[^"\\]|\\.)*)",', body, re.MULTILINE)
        found[name] = {field: json.loads(f'"{prose}"') for field, prose in entries}
    return found


def go_tags(staging: dict[str, Path]) -> dict[str, dict[str, str]]:
    """{full type name: {JSON name: flags}}: ``*`` a pointer, ``o`` omitted when empty, ``i`` inlined in JSON.

    Fields that protobuf calls otherwise are there under that name too, their name in JSON after ``=``.
    """
    found: dict[str, dict[str, str]] = {}
    field = re.compile(r'^\t(?:\w+\s+)?(\*?)([\w.\[\]*]+)\s+`json:"([\w]*)((?:,\w+)*)"([^`]*)`', re.MULTILINE)
    for name, root in staging.items():
        for path in sorted([*root.rglob("types.go"), *root.rglob("types_*.go")]):
            package = f"k8s.io.{name.replace('-', '_')}.{'.'.join(path.parent.relative_to(root).parts)}"
            for struct, body in re.findall(
                r"^type (\w+) struct \{(.*?)^\}", path.read_text(), re.DOTALL | re.MULTILINE
            ):
                flags: dict[str, str] = {}
                for pointer, go_type, json_name, options, rest in field.findall(body):
                    tagged = re.search(r"name=(\w+)", rest)
                    embedded = go_type.rpartition(".")[2]
                    named = tagged[1] if tagged else json_name or embedded[:1].lower() + embedded[1:]
                    inline = "i" if not json_name else ""
                    flags[json_name or named] = pointer + ("o" if omitted(go_type, options) else "") + inline
                    if json_name and named != json_name:
                        flags[named] = f"{flags[json_name]}={json_name}"
                found[f"{package}.{struct}"] = flags
    return found


def omitted(go_type: str, options: str) -> bool:
    """Whether Go leaves a zero value out: ``omitempty`` never does that to a struct such as a time."""
    return "omitzero" in options or (
        "omitempty" in options and go_type not in ("metav1.Time", "metav1.MicroTime", "Time")
    )


def fields_with(tags: dict[str, dict[str, str]], wanted: str) -> dict[str, str]:
    """{definition: names of fields with these flags}: ``o`` left out of JSON when zero, none: always written."""
    found = {}
    for name, flags in tags.items():
        plain = [field for field, flag in flags.items() if flag.partition("=")[0] == wanted and "=" not in flag]
        if plain:
            found["io.k8s." + name.removeprefix("k8s.io.")] = " ".join(plain)
    return found


def as_in_go(definitions: dict[str, Any], tags: dict[str, dict[str, str]]) -> None:
    """Put properties in the order in which Go writes them: messages of the API server quote objects in it."""

    def names(of: str) -> list[str]:
        found = []
        for field, flags in tags.get(of, {}).items():
            inlined = f"{of.rpartition('.')[0]}.{field[:1].upper()}{field[1:]}"
            found += names(inlined) if "i" in flags.partition("=")[0] else [field]
        return found

    for name, schema in definitions.items():
        properties = schema.get("properties", {})
        places = {
            field: place
            for place, field in enumerate(
                ["kind", "apiVersion", *names("k8s.io." + name.removeprefix("io.k8s."))], start=1
            )
        }
        if properties:
            schema["properties"] = dict(sorted(properties.items(), key=lambda item: places.get(item[0], 0)))


def protobuf(staging: dict[str, Path], tags: dict[str, dict[str, str]]) -> dict[str, Any]:
    """{message: {number: [name, type, "repeated" or "map:key type" or "", flags of `go_tags`]}} of all .proto files."""
    messages: dict[str, Any] = {}
    for root in staging.values():
        for path in sorted(root.rglob("generated.proto")):
            text = re.sub(r"//[^\n]*", "", path.read_text())
            declared = re.search(r"^package ([\w.]+);", text, re.MULTILINE)
            if not declared:
                continue
            package = declared[1]
            names = set(re.findall(r"^message (\w+)", text, re.MULTILINE))
            for name, body in re.findall(r"^message (\w+) \{(.*?)^\}", text, re.DOTALL | re.MULTILINE):
                fields: dict[str, list[str]] = {}
                for label, kind, field, number in re.findall(
                    r"(optional|repeated|required)\s+([\w.]+)\s+(\w+)\s*=\s*(\d+)", body
                ):
                    fields[number] = [field, resolved(kind, package, names), label if label == "repeated" else ""]
                for key, kind, field, number in re.findall(r"map<(\w+),\s*([\w.]+)>\s+(\w+)\s*=\s*(\d+)", body):
                    fields[number] = [field, resolved(kind, package, names), f"map:{key}"]
                flags = tags.get(f"{package}.{name}", {})
                messages[f"{package}.{name}"] = {
                    number: [*entry, flags.get(entry[0], "")] for number, entry in fields.items()
                }
    return messages


def resolved(kind: str, package: str, names: set[str]) -> str:
    """The full name of a field's type."""
    if kind in SCALARS:
        return kind
    return f"{package}.{kind}" if kind in names else kind.removeprefix(".")


if __name__ == "__main__":
    raise SystemExit(main())
