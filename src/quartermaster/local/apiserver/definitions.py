"""What a custom resource definition has to satisfy, in the words of the real server.

The real server keeps a schema that all versions share once, for the whole definition: that is where its messages say
it is, ``spec.validation``, although nobody can write one there any more. The same holds for other parts of versions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from quartermaster.local.apiserver.cluster import Cluster
from quartermaster.local.apiserver.errors import (
    Cause,
    Json,
    forbidden_value,
    invalid_value,
    required,
    unsupported_value,
)
from quartermaster.local.apiserver.names import label_1035_problem, subdomain_problem
from quartermaster.local.apiserver.structurality import structural_problems

_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
_REVIEWS = ("v1", "v1beta1")
_APPROVED = "api-approved.kubernetes.io"


def validate_definition(value: Json, cluster: Cluster) -> list[Cause]:
    """All that is wrong with a new definition."""
    spec, name = value.get("spec", {}), value["metadata"].get("name")
    group, plural = spec.get("group", ""), (spec.get("names") or {}).get("plural", "")
    causes: list[Cause] = []
    if name != f"{plural}.{group}":
        causes.append(invalid_value("metadata.name", name, 'must be spec.names.plural+"."+spec.group'))
    causes += [*_spec(spec), *_status(value), *_approval(value)]
    if any(kind.group == group and kind.custom is None and kind.plural == plural for kind in cluster.registry):
        causes.append(invalid_value("spec.group", group, "this resource is built in"))
    return causes


def changed_definition(value: Json, old: Json) -> list[Cause]:
    """All that is wrong with a changed one."""
    spec, before = value.get("spec", {}), old.get("spec", {})
    names, known = spec.get("names") or {}, before.get("names") or {}
    fixed = (
        ("spec.scope", spec.get("scope"), before.get("scope")),
        ("spec.names.kind", names.get("kind"), known.get("kind")),
        ("spec.group", spec.get("group"), before.get("group")),
        ("spec.names.plural", names.get("plural"), known.get("plural")),
    )
    causes = [*_spec(spec)]
    causes += [invalid_value(path, now, "field is immutable") for path, now, was in fixed if now != was]
    return [*causes, *_status(value)]


def _spec(spec: Json) -> Iterator[Cause]:
    versions = spec.get("versions") or []
    shared = _shared(versions)
    yield from _group(spec.get("group", ""))
    yield from _one_of("spec.scope", spec.get("scope", ""), ("Cluster", "Namespaced"))
    for index, version in enumerate(versions):
        if _schema(version) is None:
            yield required(f"spec.versions[{index}].schema.openAPIV3Schema")
    for index, version in enumerate(versions):
        yield from _version(version, f"spec.versions[{index}]", shared=shared)
    if len({version.get("name") for version in versions}) < len(versions):
        yield invalid_value("spec.versions", _internal(versions), "must contain unique version names")
    if len(_stored(spec)) != 1:
        why = "must have exactly one version marked as storage version"
        yield invalid_value("spec.versions", _internal(versions), why)
    yield from _names(spec.get("names") or {})
    if "schema" in shared:
        yield from structural_problems(_schema(versions[0]), "spec.validation.openAPIV3Schema")
    if "additionalPrinterColumns" in shared:
        yield from _columns(versions[0]["additionalPrinterColumns"], "spec.additionalPrinterColumns")
    yield from _conversion(spec.get("conversion") or {})


def _stored(spec: Json) -> list[str]:
    return [version.get("name", "") for version in spec.get("versions") or () if version.get("storage")]


def _status(value: Json) -> Iterator[Cause]:
    path, said = "status.storedVersions", (value.get("status") or {}).get("storedVersions") or []
    spec = value.get("spec", {})
    if not said:
        yield invalid_value(path, said, "must have at least one stored version")
    for name in _stored(spec):
        if name not in said:
            yield invalid_value(path, said, f"must have the storage version {name}")
    known = [version.get("name") for version in spec.get("versions") or ()]
    for index, name in enumerate(said):
        if name not in known:
            yield invalid_value(f"{path}[{index}]", name, "must appear in spec.versions")


def _approval(value: Json) -> Iterator[Cause]:
    """Groups of the project itself need its word."""
    group = value.get("spec", {}).get("group", "")
    if group.endswith((".k8s.io", ".kubernetes.io")) and not (value["metadata"].get("annotations") or {}).get(
        _APPROVED
    ):
        why = f'protected groups must have approval annotation "{_APPROVED}", see '
        yield required(
            f"metadata.annotations[{_APPROVED}]", why + "https://github.com/kubernetes/enhancements/pull/1111"
        )


def _group(group: str) -> Iterator[Cause]:
    if not group:
        yield required("spec.group")
    elif subdomain_problem(group):
        yield invalid_value("spec.group", group, subdomain_problem(group))
    elif "." not in group:
        yield invalid_value("spec.group", group, "should be a domain with at least one dot")


def _one_of(field: str, value: str, known: Sequence[str]) -> Iterator[Cause]:
    if not value:
        yield required(field)
    elif value not in known:
        yield unsupported_value(field, value, known)


def _schema(version: Json) -> Any:
    return (version.get("schema") or {}).get("openAPIV3Schema")


_PARTS = ("schema", "subresources", "additionalPrinterColumns", "selectableFields")


def _shared(versions: list[Json]) -> set[str]:
    """The parts that all versions have, and have alike."""
    return {
        part
        for part in _PARTS
        if versions
        and all(version.get(part) == versions[0].get(part) for version in versions)
        and versions[0].get(part)
    }


def _internal(versions: list[Json]) -> list[Json]:
    """Versions as the real server shows them, in its own form."""
    shared = _shared(versions)
    return [
        {
            "Name": version.get("name", ""),
            "Served": bool(version.get("served")),
            "Storage": bool(version.get("storage")),
            "Deprecated": bool(version.get("deprecated")),
            "DeprecationWarning": version.get("deprecationWarning"),
        }
        | {part[:1].upper() + part[1:]: None if part in shared else version.get(part) for part in _PARTS}
        for version in versions
    ]


def _version(version: Json, path: str, *, shared: set[str]) -> Iterator[Cause]:
    name = version.get("name", "")
    if problem := label_1035_problem(name):
        yield invalid_value(f"{path}.name", name, problem)
    warning = version.get("deprecationWarning")
    if warning is not None and not version.get("deprecated"):
        yield invalid_value(f"{path}.deprecationWarning", warning, "can only be set for deprecated versions")
    elif warning is not None and len(warning) > 256:
        yield invalid_value(f"{path}.deprecationWarning", warning, "must be <= 256 characters long")
    elif warning == "":
        yield invalid_value(f"{path}.deprecationWarning", warning, "must not be an empty string")
    if _schema(version) is not None and "schema" not in shared:
        yield from structural_problems(_schema(version), f"{path}.schema.openAPIV3Schema")
    if "additionalPrinterColumns" not in shared:
        yield from _columns(version.get("additionalPrinterColumns") or (), f"{path}.additionalPrinterColumns")


def _columns(columns: Sequence[Json], path: str) -> Iterator[Cause]:
    for index, column in enumerate(columns):
        at = f"{path}[{index}]"
        if not column.get("name"):
            yield required(f"{at}.name")
        if not column.get("type"):
            yield required(f"{at}.type", f"must be one of {','.join(_COLUMN_TYPES)}")
        elif column["type"] not in _COLUMN_TYPES:
            yield invalid_value(f"{at}.type", column["type"], f"must be one of {','.join(_COLUMN_TYPES)}")
        if column.get("format") and column["format"] not in _COLUMN_FORMATS:
            yield invalid_value(f"{at}.format", column["format"], f"must be one of {','.join(_COLUMN_FORMATS)}")
        if not column.get("jsonPath"):
            yield required(f"{at}.JSONPath")


def _names(names: Json) -> Iterator[Cause]:
    parts = ("plural", "singular", "kind", "listKind")
    for name in parts:
        if not names.get(name):
            yield required(f"spec.names.{name}")
    for name in parts:
        text = names.get(name) or ""
        mixed = name in ("kind", "listKind")
        problem = label_1035_problem(text.lower() if mixed else text) if text else ""
        if problem:
            lead = "may have mixed case, but should otherwise match: " if mixed else ""
            yield invalid_value(f"spec.names.{name}", text, lead + problem)
    for index, text in enumerate(names.get("shortNames") or ()):
        if problem := label_1035_problem(text):
            yield invalid_value(f"spec.names.shortNames[{index}]", text, problem)
    if names.get("kind") and names["kind"] == names.get("listKind"):
        yield invalid_value("spec.names.listKind", names["listKind"], "kind and listKind may not be the same")
    for index, text in enumerate(names.get("categories") or ()):
        if problem := label_1035_problem(text):
            yield invalid_value(f"spec.names.categories[{index}]", text, problem)


def _conversion(conversion: Json) -> Iterator[Cause]:
    strategy, path = conversion.get("strategy", "None"), "spec.conversion"
    webhook = conversion.get("webhook") or {}
    config, reviews = webhook.get("clientConfig"), webhook.get("conversionReviewVersions") or []
    yield from _one_of(f"{path}.strategy", strategy, ("None", "Webhook"))
    if strategy != "Webhook":
        if config is not None:
            why = "should not be set when strategy is not set to Webhook"
            yield forbidden_value(f"{path}.webhookClientConfig", why)
        if reviews:
            why = "should not be set when strategy is not set to Webhook"
            yield forbidden_value(f"{path}.conversionReviewVersions", why)
        return
    if config is None:
        yield required(f"{path}.webhookClientConfig", "required when strategy is set to Webhook")
    elif bool(config.get("url")) == bool(config.get("service")):
        yield required(f"{path}.webhookClientConfig", "exactly one of url or service is required")
    if not reviews:
        yield required(f"{path}.conversionReviewVersions")
    elif not any(version in _REVIEWS for version in reviews):
        why = f"must include at least one of {', '.join(_REVIEWS)}"
        yield invalid_value(f"{path}.conversionReviewVersions", reviews, why)
