"""Which devices of a node are taken together."""

import pytest

from quartermaster.cluster.inside import bits
from quartermaster.model.locality import Locality, Zone
from quartermaster.scheduling.connected import best_set

PAIRS = Locality(nvlink=((0, 1), (2, 3)), zones=(Zone(id="0", gpus=(0, 1)), Zone(id="1", gpus=(2, 3))))
BOX = Locality(
    switches=((0, 4), (1, 5), (2, 6), (3, 7)),
    zones=(Zone(id="0", gpus=(0, 1, 4, 5)), Zone(id="1", gpus=(2, 3, 6, 7))),
)
BOARD = Locality(nvlink=(tuple(range(64)),))
RAILS = Locality(nvlink=((0, 1, 2, 3),), rails=(-1, -1, 0, -1), network=frozenset({"nic"}))


@pytest.mark.parametrize(
    ("where", "idle", "count", "chosen"),
    [
        (PAIRS, (0, 1, 2, 3), 2, (0, 1)),
        (PAIRS, (1, 2, 3), 2, (2, 3)),
        (PAIRS, (1, 2, 3), 1, (1,)),  # Its partner is gone already.
        (PAIRS, (0, 2, 3), 1, (0,)),
        (PAIRS, (1, 3), 2, (1, 3)),
        (BOX, tuple(range(8)), 2, (0, 4)),
        (BOX, (1, 2, 3, 4, 6), 2, (2, 6)),
        (BOX, (1, 2, 3, 4), 2, (1, 4)),  # No switch in common: one socket at least.
        (BOX, (1, 2, 3, 4), 1, (1,)),
        (BOX, tuple(range(8)), 4, (0, 1, 4, 5)),
        (BOARD, tuple(range(1, 64)), 8, tuple(range(1, 9))),
        (RAILS, (0, 1, 2, 3), 1, (0,)),
        (RAILS, (2, 3), 1, (3,)),  # The GPU with the NIC is left to whoever asks for it.
    ],
)
def test_the_best_joined(where: Locality, idle: tuple[int, ...], count: int, chosen: tuple[int, ...]) -> None:
    mask = sum(1 << device for device in idle)
    assert tuple(bits(best_set(where, mask, mask, count))) == chosen


def test_who_asks_for_a_nic_gets_a_gpu_with_a_rail() -> None:
    assert best_set(RAILS, 0b1111, 0b1111, 1, network=True) == 0b0100


def test_many_unequal_devices_are_grown_not_enumerated() -> None:
    where = Locality(nvlink=tuple((pair, pair + 1) for pair in range(0, 64, 2)), switches=(tuple(range(8, 24)),))
    everything = 2**64 - 1
    assert tuple(bits(best_set(where, everything, everything, 12))) == tuple(range(8, 20))
