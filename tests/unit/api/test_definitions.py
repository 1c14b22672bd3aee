"""What the API server makes of our definitions, and of objects against them."""

from typing import Any, get_type_hints

import msgspec
import pytest

from quartermaster.api import v1alpha1
from quartermaster.api.definitions import DEFINITIONS, manifests
from quartermaster.testing.kubernetes import Kubernetes, Refused, kubernetes
from tests.unit.api.own_objects import BASE, CASES, GIVEN, Case

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


async def define(api: Kubernetes) -> None:
    for manifest in manifests():
        await api.create(CRDS, manifest)


def queue(**spec: Any) -> dict[str, Any]:
    return Case("a", "Queue", spec).body


async def test_every_object_of_the_table_is_taken_or_refused_with_the_reason() -> None:
    async with kubernetes() as api:
        await define(api)
        for case in CASES:
            if not case.refused:
                await api.create(case.path, case.body)
                continue
            with pytest.raises(Refused) as said:
                await api.create(case.path, case.body)
            assert said.value.code == 422
            assert case.refused in str(said.value), case.name


async def test_defaults_are_filled_in_and_unknown_fields_do_not_stay() -> None:
    async with kubernetes() as api:
        await define(api)
        made = await api.create(f"{BASE}/queues", queue(gpu={"limit": 4}, future=1))
        assert made["spec"] == {"gpu": {"deserved": 0, "limit": 4, "weight": 1}, "priority": 100}


async def test_a_status_is_written_apart_and_does_not_count_as_a_change_of_intent() -> None:
    async with kubernetes() as api:
        await define(api)
        await api.create(f"{BASE}/queues", queue())
        status = {"gpu": {"allocated": "3"}, "runningGroups": 2}
        await api.patch(f"{BASE}/queues/a", {"status": status, "spec": {"priority": 3}})
        assert "status" not in await api.get(f"{BASE}/queues/a")
        after = await api.patch(f"{BASE}/queues/a/status", {"status": status, "spec": {"priority": 4}})
        assert after["status"] == status
        assert (after["spec"]["priority"], after["metadata"]["generation"]) == (3, 2)


def walk(schema: Any, path: str = "") -> list[tuple[str, dict[str, Any]]]:
    """All schemas inside a schema, with their paths."""
    found = [(path, schema)]
    for name, inner in (schema.get("properties") or {}).items():
        found += walk(inner, f"{path}.{name}")
    for inner in (schema.get("items"), schema.get("additionalProperties")):
        if isinstance(inner, dict):
            found += walk(inner, f"{path}[]")
    return found


@pytest.mark.parametrize("manifest", manifests(), ids=lambda manifest: str(manifest["spec"]["names"]["plural"]))
def test_every_field_says_what_it_is_for(manifest: dict[str, Any]) -> None:
    (version,) = manifest["spec"]["versions"]
    for path, schema in walk(version["schema"]["openAPIV3Schema"]):
        if path != ".metadata" and not path.endswith("[]"):
            assert schema.get("description"), path


@pytest.mark.parametrize("one", DEFINITIONS, ids=lambda one: one.plural)
def test_columns_look_at_fields_that_there_are(one: Any) -> None:
    parts = get_type_hints(one.type)
    for column in one.columns:
        kind: Any = one.type
        names = column.path.split("[?")[0].strip(".").split(".")
        if names[0] == "metadata":
            continue
        for name in names:
            fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
            assert name in fields, column.path
            hint = get_type_hints(kind)[fields[name].name]
            kind = next((part for part in getattr(hint, "__args__", (hint,)) if isinstance(part, type)), hint)
    assert one.plural == GIVEN[one.kind].rpartition("/")[2]
    assert parts["metadata"] is v1alpha1.Metadata
