"""Clocks that run fast, against a wall that the test moves."""

import pytest

from quartermaster.local import clock as module
from quartermaster.local.clock import WallClock


class Wall:
    """Stands in for the module `time`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    made = Wall()
    monkeypatch.setattr(module, "time", made)
    return made


def times(clock: WallClock, wall: Wall, *passed: float) -> list[float]:
    found = []
    for seconds in passed:
        wall.now = 1000.0 + seconds
        found.append(clock())
    return found


def test_by_itself_it_is_the_wall_clock(wall: Wall) -> None:
    clock = WallClock()
    assert times(clock, wall, 0, 5, 50) == [1000, 1005, 1050]
    assert not clock.hurried


def test_behind_it_hurries_until_it_has_caught_up(wall: Wall) -> None:
    clock = WallClock(behind=90, speed=10)
    assert times(clock, wall, 0, 5, 10, 15) == [910, 960, 1010, 1015]
    assert not clock.hurried


def test_ahead_it_never_is_before_the_wall_and_stays_as_far_ahead_as_it_came(wall: Wall) -> None:
    clock = WallClock(ahead=90, speed=10)
    assert times(clock, wall, 0, 5) == [1000, 1050]
    assert clock.hurried
    assert times(clock, wall, 10, 15) == [1100, 1105]
    assert not clock.hurried
