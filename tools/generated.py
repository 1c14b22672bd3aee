"""Files that are made from others and checked in, so that people and helm can read them: definitions and references.

`python -m tools.generated` writes them; a test compares. What is made from what:

| file | from |
|---|---|
| charts/quartermaster/files/crds/*.yaml | the types of `quartermaster.api.v1alpha1` |
| docs/crd-reference.md | the same |
| charts/quartermaster/README.md | its values.yaml and values.schema.json |
| the table of metrics in docs/operating.md | `quartermaster.controllers.scheduler.metrics` |
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from quartermaster.api.definitions import DEFINITIONS, Definition, manifest
from quartermaster.controllers.scheduler.metrics import Metrics

ROOT = Path(__file__).parent.parent
CHART = Path("charts/quartermaster")
OPERATING = Path("docs/operating.md")
_MADE = "made by `python -m tools.generated`"

Json = dict[str, Any]


def files() -> dict[Path, str]:
    """All of them, by path below the repository."""
    made = {
        CHART / f"files/crds/{one.name}.yaml": f"# {_MADE}\n"
        + yaml.safe_dump(manifest(one), sort_keys=False, width=120)
        for one in DEFINITIONS
    }
    made[Path("docs/crd-reference.md")] = reference()
    made[CHART / "README.md"] = values()
    made[OPERATING] = _with(OPERATING, metrics())
    return made


def _with(path: Path, part: str) -> str:
    """A page that people write, with a part of it made; two comments say from where to where."""
    begin, end = f"<!-- {_MADE}: -->\n", "<!-- up to here -->"
    before, _, rest = (ROOT / path).read_text(encoding="utf-8").partition(begin)
    return f"{before}{begin}{part}{end}{rest.partition(end)[2]}"


def metrics() -> str:
    """The table of docs/operating.md."""
    rows = [
        f"| `{one.name}` | {one.type} | {', '.join(f'`{label}`' for label in one.labels)} | {one.text} |"
        for one in Metrics().described
    ]
    return "\n".join(["| metric | type | labels | |", "|---|---|---|---|", *rows]) + "\n"


# ---- the reference of our kinds


def reference() -> str:
    """docs/crd-reference.md."""
    parts = [
        "# Custom resources, field by field",
        f"<!-- {_MADE} from src/quartermaster/api/v1alpha1.py -->",
        "What these kinds are for, with examples: [custom-resources.md](custom-resources.md). `kubectl explain` says "
        "the same. Amounts are quantities of Kubernetes (`8`, `500m`, `512Gi`), spans of time are written `1h30m`.",
    ]
    for one in DEFINITIONS:
        parts += _kind(one)
    return "\n\n".join(parts) + "\n"


def _kind(one: Definition) -> Iterator[str]:
    (version,) = manifest(one)["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    scope = "of a namespace" if one.namespaced else "of the cluster"
    yield f"## {one.kind}"
    yield f"{schema['description']} An object {scope}; short names: {', '.join(f'`{name}`' for name in one.short)}."
    for part in ("spec", "status"):
        rows = [f"| {part} | type | |", "|---|---|---|", *_rows(schema["properties"][part], "", {})]
        yield "\n".join(rows)
    rules = list(_rules(schema["properties"]["spec"], "spec"))
    if rules:
        yield "\n".join(["The API server refuses an object for which one of these does not hold:", "", *rules])
    columns = [f"| {column.name} | {column.says}{' (`-o wide`)' if column.wide else ''} |" for column in one.columns]
    yield "\n".join(["| column | |", "|---|---|", *columns])


def _rows(schema: Json, path: str, told: dict[str, str]) -> Iterator[str]:
    """A row for each field; fields that were told of another are only pointed at."""
    for name, inner in schema["properties"].items():
        at = f"{path}{name}"
        text = inner["description"].replace("\n\n", " ")
        if "default" in inner:
            text += f" Default: `{inner['default']}`."
        if name in schema.get("required", ()):
            text += " Required."
        if "enum" in inner:
            text += f" One of {', '.join(f'`{value}`' for value in inner['enum'])}."
        below = inner.get("items") or inner.get("additionalProperties") or inner
        mark = "[]" if "items" in inner else ".*" if "additionalProperties" in inner else ""
        known = told.get(fields := json.dumps(below.get("properties"), sort_keys=True))
        if "properties" in below and known is not None:
            text += f" Its fields are those of `{known}`."
        yield f"| `{at}` | {_type(inner)} | {text} |"
        if "properties" in below and known is None:
            told[fields] = at
            yield from _rows(below, f"{at}{mark}.", told)


def _type(schema: Json) -> str:
    if schema.get("x-kubernetes-int-or-string"):
        return "quantity"
    if "items" in schema:
        return f"list of {_type(schema['items'])}"
    if "additionalProperties" in schema:
        return f"map to {_type(schema['additionalProperties'])}"
    return str(schema["type"])


def _rules(schema: Json, path: str) -> Iterator[str]:
    for rule in schema.get("x-kubernetes-validations", ()):
        yield f"* `{path}`: {rule['message']}"
    for name, inner in schema.get("properties", {}).items():
        yield from _rules(inner, f"{path}.{name}")
    for mark, inner in (("[]", schema.get("items")), (".*", schema.get("additionalProperties"))):
        if inner:
            yield from _rules(inner, f"{path}{mark}")


# ---- the chart's values


def values() -> str:
    """charts/quartermaster/README.md."""
    chart = yaml.safe_load((ROOT / CHART / "Chart.yaml").read_text(encoding="utf-8"))
    given = yaml.safe_load((ROOT / CHART / "values.yaml").read_text(encoding="utf-8"))
    schema = json.loads((ROOT / CHART / "values.schema.json").read_text(encoding="utf-8"))
    rows = ["| value | default | |", "|---|---|---|", *_values(schema, given, "")]
    parts = [
        "# The quartermaster chart",
        f"<!-- {_MADE} from values.yaml and values.schema.json -->",
        chart["description"],
        "How to install, upgrade and remove it: [docs/chart.md](../../docs/chart.md).",
        "\n".join(rows),
    ]
    return "\n\n".join(parts) + "\n"


def _values(schema: Json, given: Json, path: str) -> Iterator[str]:
    for name, inner in schema["properties"].items():
        if name not in given:
            continue
        at, value = f"{path}{name}", given[name]
        if "properties" in inner:
            yield from _values(inner, value, f"{at}.")
        else:
            text = inner["description"].replace("|", "\\|")
            yield f"| `{at}` | `{_short(value)}` | {text} |"


def _short(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return f"[{', '.join(str(item['name']) for item in value)}]"
    return json.dumps(value, ensure_ascii=False)


def main() -> None:
    """Write them."""
    for path, text in files().items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text, encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
