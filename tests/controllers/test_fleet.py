"""A real kube-apiserver takes the machines of the fleet as they are: nodes, device classes, and slices of every cut."""

import asyncio

import aiohttp
import pytest

from quartermaster.local.fleet.devices import device_classes, resource_slices
from quartermaster.local.fleet.objects import node
from quartermaster.local.fleet.presets import Pool, machine, presets
from tests.controllers.sides import Json, Real
from tests.kubernetes.server import Server

DRA = "/apis/resource.k8s.io/v1"


def offered(preset: str) -> list[tuple[str, Json]]:
    kind = machine(preset)
    pool = Pool(preset=preset)
    found = [("/api/v1/nodes", node(pool, f"{preset}-0"))]
    found += [(f"{DRA}/deviceclasses", value) for value in device_classes()]
    cuts = [(kind.mig, False)]
    if kind.gpu and presets().gpus[kind.gpu].mig:
        cuts += [("all-balanced", False), ("all-disabled", True)]
    for config, by_claim in cuts:
        slices = resource_slices(kind, f"{preset}-0", config=config, by_claim=by_claim)
        found += [(f"{DRA}/resourceslices", value) for value in slices]
    return found


@pytest.mark.parametrize("preset", sorted(presets().machines))
def test_a_machine_is_what_the_real_server_takes(kubernetes: Server, preset: str) -> None:
    async def post() -> None:
        async with aiohttp.ClientSession() as session:
            side = Real(kubernetes, session)
            for path, value in offered(preset):
                made = await side.ask("POST", f"{path}?dryRun=All&fieldValidation=Strict", value)
                assert made["metadata"]["name"] == value["metadata"]["name"]

    asyncio.run(post())
