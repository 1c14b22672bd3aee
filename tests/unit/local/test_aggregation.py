"""Groups that somebody else serves: discovered, authorized and asked like all others, and 503 when nobody answers."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from quartermaster.local.apiserver.kinds import Kind
from quartermaster.local.apiserver.local import LocalApi
from quartermaster.local.apiserver.transport import Request, Response, User, answer
from quartermaster.testing.kubernetes import Client, Json, Kubernetes, kubernetes

SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
KIND = Kind(
    group="weather.example",
    version="v1",
    kind="Forecast",
    plural="forecasts",
    singular="forecast",
    namespaced=True,
    verbs=("get", "list"),
)


async def sunny(request: Request) -> Response:
    return answer({"kind": "Forecast", "asked": request.path})


def registration(service: str = "weather") -> Json:
    spec = {
        "group": "weather.example",
        "version": "v1",
        "service": {"namespace": "default", "name": service},
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
        "insecureSkipTLSVerify": True,
    }
    return {"metadata": {"name": "v1.weather.example"}, "spec": spec}


@contextlib.asynccontextmanager
async def weather() -> AsyncIterator[Kubernetes]:
    async with kubernetes() as api:
        api.server.aggregation.offer(("default", "weather"), sunny, (KIND,))
        yield api


async def available(api: Client) -> tuple[str, str]:
    (condition,) = (await api.get(f"{SERVICES}/v1.weather.example"))["status"]["conditions"]
    return condition["status"], condition["reason"]


async def groups(api: Kubernetes) -> set[str]:
    return {item["name"] for item in (await api.get("/apis"))["groups"]}


async def test_a_registered_group_is_discovered_and_asked() -> None:
    async with weather() as api:
        assert "weather.example" not in await groups(api)
        await api.create(SERVICES, registration())
        assert await available(api) == ("True", "Passed")
        assert "weather.example" in await groups(api)
        (entry,) = (await api.get("/apis/weather.example/v1"))["resources"]
        assert (entry["name"], entry["verbs"]) == ("forecasts", ["get", "list"])
        path = "/apis/weather.example/v1/namespaces/default/forecasts/today"
        assert (await api.get(path))["asked"] == path


async def test_an_offer_may_come_after_its_registration() -> None:
    async with kubernetes() as api:
        await api.create(SERVICES, registration())
        assert await available(api) == ("False", "ServiceNotFound")
        for path in ("", "/forecasts"):
            said = await api.send("GET", f"/apis/weather.example/v1{path}")
            assert (said.status, said.body) == (503, b"service unavailable\n")
        api.server.aggregation.offer(("default", "weather"), sunny, (KIND,))
        assert await available(api) == ("True", "Passed")
        assert (await api.get("/apis/weather.example/v1/forecasts"))["kind"] == "Forecast"


@pytest.mark.parametrize("spec", [None, {}, {"service": {}}, {"group": "weather.example", "version": "v1"}])
async def test_half_a_registration_breaks_nothing(spec: Json | None) -> None:
    async with weather() as api:
        body = {"metadata": {"name": "v1.weather.example"}, "status": {"conditions": [{"status": "True"}]}}
        made = await api.send("POST", SERVICES, body | ({} if spec is None else {"spec": spec}))
        assert made.status in (201, 422)
        assert "weather.example" not in await groups(api)
        assert "apps" in await groups(api)


async def test_the_last_to_offer_answers() -> None:
    async def rainy(request: Request) -> Response:
        return answer({"kind": "Forecast", "rain": request.path})

    async with weather() as api:
        await api.create(SERVICES, registration())
        api.server.aggregation.offer(("default", "weather"), rainy, (KIND,))
        assert "rain" in await api.get("/apis/weather.example/v1/forecasts")


async def test_without_its_registration_a_group_is_gone() -> None:
    async with weather() as api:
        await api.create(SERVICES, registration())
        await api.delete(f"{SERVICES}/v1.weather.example")
        assert "weather.example" not in await groups(api)
        assert (await api.send("GET", "/apis/weather.example/v1/forecasts")).status == 404


async def test_who_may_not_ask_does_not_reach_the_backend() -> None:
    async with weather() as api:
        await api.create(SERVICES, registration())
        request = Request.of("GET", "/apis/weather.example/v1/forecasts")
        request.user = User("nobody", ("system:authenticated",))
        refused = await api.server.handle(request)
        assert (refused.status, refused.json()["reason"]) == (403, "Forbidden")


async def test_what_is_registered_for_another_service_is_not_served() -> None:
    async with weather() as api:
        await api.create(SERVICES, registration("other"))
        assert await available(api) == ("False", "ServiceNotFound")
        changed = {"spec": {"service": {"name": "weather", "namespace": "default"}}}
        await api.patch(f"{SERVICES}/v1.weather.example", changed)
        assert (await api.get("/apis/weather.example/v1/forecasts"))["kind"] == "Forecast"
        assert await available(api) == ("True", "Passed")


async def test_after_a_restart_nobody_answers_until_somebody_offers(tmp_path: Path) -> None:
    async with LocalApi(port=None, folder=tmp_path) as first:
        first.server.aggregation.offer(("default", "weather"), sunny, (KIND,))
        await Client(first.server.handle).create(SERVICES, registration())
    async with LocalApi(port=None, folder=tmp_path) as second:
        api = Client(second.server.handle)
        assert await available(api) == ("False", "ServiceNotFound")
        assert (await api.send("GET", "/apis/weather.example/v1/forecasts")).status == 503
        second.server.aggregation.offer(("default", "weather"), sunny, (KIND,))
        assert await available(api) == ("True", "Passed")
        assert (await api.get("/apis/weather.example/v1/forecasts"))["kind"] == "Forecast"
