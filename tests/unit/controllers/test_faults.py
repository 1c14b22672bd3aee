"""Whatever fails, nothing is given twice, no gang stays broken, and in the end everything runs that could."""


import pytest

from tests.unit.controllers.faults import CLEAR, STORM
from tests.unit.controllers.world import World, world


async def fill(it: World) -> None:
    """27 of 32 GPUs: gangs of several sizes and single pods."""
    await it.gang("large", 2, gpus=8)
    for number in range(2):
        await it.gang(f"small-{number}", 3)
    for number in range(5):
        await it.single(f"one-{number}")


async def test_without_faults_all_of_it_is_bound_in_a_moment() -> None:
    async with world() as it:
        it.start()
        await fill(it)
        assert await it.after(10, until=lambda: it.whole) < 2


@pytest.mark.parametrize("seed", range(6))
async def test_through_a_storm_and_all_is_bound_after_it(seed: int) -> None:
    async with world(seed=seed) as it:
        replica = it.start()
        replica.api.weather = STORM
        await fill(it)
        await it.after(40)
        replica.api.weather = CLEAR
        assert await it.after(120, until=lambda: it.whole) < 60
