"""How the controller is told to answer admission reviews."""

import argparse

import pytest

from quartermaster.api.admission import Known
from quartermaster.cli import webhook
from quartermaster.controllers.admission import Admission
from quartermaster.local.client import LocalClient
from quartermaster.local.clock import VirtualClock
from quartermaster.model.errors import InvalidInput
from quartermaster.testing.kubernetes import kubernetes


async def made(*words: str) -> Admission | None:
    parser = argparse.ArgumentParser()
    webhook.add(parser)
    async with kubernetes() as api:
        door = LocalClient(api.handler, agent="test")
        known = lambda: Known(queues=[], topologies=[])  # noqa: E731
        return webhook.admission(parser.parse_args(words), door, clock=VirtualClock(0.0), known=known)


async def test_what_the_chart_says() -> None:
    assert await made() is None
    found = await made("--webhook-port=8443", "--webhook-service=system/qm")
    assert found is not None
    assert (found.port, found.names[0]) == (8443, "qm.system.svc")


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (("--webhook-service=qm",), "--webhook-service"),
        (("--webhook-service=a/b", "--webhook-port=x"), "--webhook-port"),
        (("--webhook-service=a/b", "--webhook-port=70000"), "--webhook-port"),
    ],
)
async def test_mistakes(words: tuple[str, ...], field: str) -> None:
    with pytest.raises(InvalidInput, match=field):
        await made(*words)
