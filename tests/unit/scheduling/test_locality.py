"""What distance costs: the figures of the sources, and where a job is found to be."""

import pytest

from quartermaster.model.errors import InvalidInput
from quartermaster.model.locality import Link, Locality, Zone
from quartermaster.model.node import Node
from quartermaster.model.topology import Level, Topology
from quartermaster.model.units import GIB
from quartermaster.scheduling.locality import Spread, Tier, Traffic, slowdown, spread

BRIDGES = Locality(
    nvlink=((0, 1), (2, 3)),
    zones=(Zone(id="0", gpus=(0, 1)), Zone(id="1", gpus=(2, 3))),
    rails=(0, 1, -1, -1),
)
NETWORK = Topology(
    name="net",
    levels=(
        Level(label="pod"),
        Level(label="spine"),
        Level(label="leaf"),
        Level(label="clique", hard=True),
        Level(label="kubernetes.io/hostname"),
    ),
)


def node(name: str, path: str = "", locality: Locality | None = None) -> Node:
    labels = dict(zip(("pod", "spine", "leaf", "clique"), path.split("/"), strict=False)) if path else {}
    labels["kubernetes.io/hostname"] = name
    return Node(name=name, cpu=1000, memory=GIB, gpus=4, labels=labels, locality=locality)


@pytest.mark.parametrize(("share", "factor"), [(0.1, 1.7), (0.3, 3.1), (0.5, 4.4)])
def test_nvlink_traffic_over_a_nic(share: float, factor: float) -> None:
    assert Traffic(fabric=share).multiplier(Spread(tier=Tier.LEAF)) == pytest.approx(factor, abs=0.05)


def test_the_check_against_arnold() -> None:
    assert slowdown(0.4, 1.2) == pytest.approx(1.08)
    assert Traffic(network=0.4).multiplier(Spread(tier=Tier.CORE)) == pytest.approx(1.08)


def test_the_best_place_costs_nothing_and_both_kinds_add_up() -> None:
    traffic = Traffic(fabric=0.3, network=0.2)
    assert traffic.multiplier(Spread()) == 1
    far = Spread(tier=Tier.SPINE, link=Link.SYS)
    parts = Traffic(fabric=0.3).multiplier(far) - 1, Traffic(network=0.2).multiplier(far) - 1
    assert traffic.multiplier(far) == pytest.approx(1 + sum(parts))


def test_farther_is_never_faster() -> None:
    traffic = Traffic(fabric=0.3, network=0.3)
    tiers = [traffic.multiplier(Spread(tier=tier)) for tier in Tier]
    links = [traffic.multiplier(Spread(link=link)) for link in Link]
    assert tiers == sorted(tiers)
    assert links == sorted(links)


@pytest.mark.parametrize("shares", [(-0.1, 0), (0.6, 0.6), (float("nan"), 0)])
def test_shares_that_cannot_be(shares: tuple[float, float]) -> None:
    with pytest.raises(InvalidInput, match="traffic"):
        Traffic(fabric=shares[0], network=shares[1])


@pytest.mark.parametrize(
    ("paths", "tier"),
    [
        (("p/s/l/c",), Tier.NODE),
        (("p/s/l/c", "p/s/l/c"), Tier.FABRIC),
        (("p/s/l/c", "p/s/l/d"), Tier.LEAF),
        (("p/s/l/c", "p/s/m/d"), Tier.SPINE),
        (("p/s/l/c", "p/t/m/d"), Tier.CORE),
        (("p/s/l/c", "q/t/m/d"), Tier.CORE),
        (("", ""), Tier.CORE),
    ],
)
def test_how_far_apart_nodes_are(paths: tuple[str, ...], tier: Tier) -> None:
    places = [(node(f"n{index}", path), (0,)) for index, path in enumerate(paths)]
    assert spread(places, NETWORK).tier is tier


def test_inside_a_node() -> None:
    here = node("n", locality=BRIDGES)
    assert spread([(here, (0, 1))]) == Spread()
    assert spread([(here, (0,)), (here, (2,))]) == Spread(link=Link.SYS, far_nic=True)
    assert spread([(here, (0,)), (node("m"), (0,))]) == Spread(tier=Tier.LEAF)
