"""Server-side apply: ownership, and conflicts in words."""

import pytest

from quartermaster.kube.api import Api, Json, Refused
from quartermaster.kube.apply import Conflict, apply
from quartermaster.local.client import LocalClient
from quartermaster.testing.kubernetes import kubernetes

PATH = "/api/v1/namespaces/default/configmaps/settings"


def settings(**data: str) -> Json:
    metadata = {"name": "settings", "namespace": "default"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


async def data(api: Api) -> Json:
    found: Json = (await api.send("GET", PATH)).get("data", {})
    return found


async def test_what_is_applied_is_there_and_what_is_no_longer_named_goes() -> None:
    async with kubernetes() as server:
        api = LocalClient(server.handler, agent="tester")
        await apply(api, PATH, settings(a="1", b="2"), manager="quartermaster")
        assert await data(api) == {"a": "1", "b": "2"}
        await apply(api, PATH, settings(b="3"), manager="quartermaster")
        assert await data(api) == {"b": "3"}
        await apply(api, PATH, settings(c="4"), manager="somebody else/or other")
        assert await data(api) == {"b": "3", "c": "4"}


async def test_a_conflict_says_which_field_and_whose_and_force_takes_it() -> None:
    async with kubernetes() as server:
        api = LocalClient(server.handler, agent="tester")
        await apply(api, PATH, settings(a="1", b="1"), manager="first")
        with pytest.raises(Conflict) as conflict:
            await apply(api, PATH, settings(a="2", b="2"), manager="second")
        assert conflict.value.owners == ((".data.a", "first"), (".data.b", "first"))
        assert str(conflict.value) == (
            "409: ConfigMap default/settings: .data.a is owned by first, .data.b is owned by first; "
            "leave these fields out, set them to the same values, or force"
        )
        await apply(api, PATH, settings(a="2"), manager="second", force=True)
        assert await data(api) == {"a": "2", "b": "1"}


async def test_other_refusals_stay_what_they_are() -> None:
    async with kubernetes() as server:
        api = LocalClient(server.handler, agent="tester")
        with pytest.raises(Refused) as refused:
            await apply(api, PATH.replace("default", "nowhere"), settings(), manager="m")
        assert not isinstance(refused.value, Conflict)
        assert refused.value.code in (400, 404)
