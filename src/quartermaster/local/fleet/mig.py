"""MIG layouts by the names that mig-manager's configurations have: ``all-1g.10gb``, ``all-disabled``, ``all-balanced``.

A layout is built with placements, big instances first, because counts alone are no plan: what does not fit is refused.
The table is `data/mig.yaml`; on a live node NVML decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import yaml

from quartermaster.model.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Profile:
    """An instance that a GPU allows. `size` and `starts` in units of its memory grid; None: not known."""

    name: str
    number: int
    size: int
    starts: tuple[int, ...]
    most: int
    memory_mib: int | None
    multiprocessors: int | None
    copy_engines: int
    decoders: int | None

    @property
    def resource(self) -> str:
        """What the device plugin calls it."""
        return f"nvidia.com/mig-{self.name.replace('+', '.')}"


@cache
def geometry() -> dict[str, dict[str, Profile]]:
    """{GPU: {profile name: profile}}."""
    table = yaml.safe_load((files(__package__) / "data" / "mig.yaml").read_text())
    return {
        gpu: {
            name: Profile(name, number, size, tuple(starts), most, mib, sm, copies, decoders)
            for name, (number, size, starts, most, mib, sm, copies, decoders) in rows.items()
        }
        for gpu, rows in table.items()
    }


def layout(gpu: str, config: str) -> list[tuple[Profile, int]]:
    """The instances of each GPU under a configuration, with their starts; none for ``all-disabled``.

    Raises InvalidInput for a GPU without MIG and a configuration that it does not allow.
    """
    if config == "all-disabled":
        return []
    profiles = geometry().get(gpu)
    if profiles is None:
        raise InvalidInput("mig", f"'{gpu}' cannot be partitioned", "use all-disabled, or another GPU")
    if config == "all-balanced":
        return _balanced(profiles)
    name = config.removeprefix("all-").replace(".me", "+me")
    profile = profiles.get(name)
    if profile is None or not config.startswith("all-"):
        known = ", ".join(f"all-{known.replace('+', '.')}" for known in profiles)
        raise InvalidInput(
            "mig", f"{gpu} has no configuration '{config}'", f"use one of: {known}, all-balanced, all-disabled"
        )
    return _placed([profile] * profile.most)


def _balanced(profiles: dict[str, Profile]) -> list[tuple[Profile, int]]:
    """Half of the GPU in one big instance, a quarter in one, the rest in the smallest (NVIDIA's all-balanced)."""
    plain = {profile.name.split(".")[0]: profile for profile in reversed(profiles.values()) if "+" not in profile.name}
    if "3g" in plain:
        return _placed([plain["3g"], plain["2g"], plain["1g"], plain["1g"]])
    return _placed([plain["2g"], plain["1g"], plain["1g"]])


def _placed(wanted: list[Profile]) -> list[tuple[Profile, int]]:
    """Instances with starts, big ones first; the shipped configurations all have a solution."""
    ordered = sorted(wanted, key=lambda profile: -profile.size)

    def rest(index: int, taken: frozenset[int]) -> list[tuple[Profile, int]] | None:
        if index == len(ordered):
            return []
        profile = ordered[index]
        for start in profile.starts:
            units = frozenset(range(start, start + profile.size))
            if not units & taken and (found := rest(index + 1, taken | units)) is not None:
                return [(profile, start), *found]
        return None

    found = rest(0, frozenset())
    assert found is not None, f"{[profile.name for profile in ordered]} do not fit on one GPU"
    return found


def resources(gpu: str, config: str, count: int) -> dict[str, int]:
    """Device-plugin resources of `count` such GPUs (strategy mixed): with MIG on, no whole GPU is left."""
    instances = layout(gpu, config)
    if not instances:
        return {"nvidia.com/gpu": count}
    found = {"nvidia.com/gpu": 0}
    for profile, _ in instances:
        found[profile.resource] = found.get(profile.resource, 0) + count
    return found
