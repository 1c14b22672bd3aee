"""One leader among many: a Lease of coordination.k8s.io, by the rules that Kubernetes' own components follow.

Whoever renews in time stays; who sees no renewal for the lease's duration takes it. Nobody believes another's clock: a
lease is as old as the time since *we* first saw its last renewal. A leader believes in itself only until
`renew_deadline` after it *sent* the renewal that succeeded, others wait `lease_duration` after they *saw* it, and the
first is shorter: so two never lead at once, however slow or broken the API is, as long as clocks run at the same speed.
Durations are taken on a steady clock; the wall clock is only written down, and may jump.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from quartermaster.kube.api import Api, Json, Refused
from quartermaster.kube.clock import Clock, within
from quartermaster.model.errors import InvalidInput

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Seconds, with the defaults of Kubernetes' own components. Raises InvalidInput."""

    lease_duration: float = 15.0
    renew_deadline: float = 10.0
    retry_period: float = 2.0
    jitter: float = 1.2
    """A retry waits up to so many retry periods longer, so that contenders do not ask in step."""

    def __post_init__(self) -> None:
        if self.lease_duration < 1:
            raise InvalidInput(
                "lease_duration", f"is {self.lease_duration:g}", "a Lease counts whole seconds: 1 or more"
            )
        if not self.renew_deadline < int(self.lease_duration):
            problem = f"is {self.renew_deadline:g}, and the lease lasts {int(self.lease_duration)}"
            raise InvalidInput("renew_deadline", problem, "make it shorter, or two could lead at once")
        if not 0 < self.retry_period * (1 + self.jitter) < self.renew_deadline:
            problem = f"is {self.retry_period:g}, up to {self.retry_period * (1 + self.jitter):g} with jitter"
            raise InvalidInput("retry_period", problem, f"stay below the deadline of {self.renew_deadline:g}")


class LeaderElector:
    """A contender named `identity`, which no other process has, for the lease `namespace`/`name`.

    `clock` is steady and measures; `wall` gives seconds since 1970 and is written into the Lease.
    """

    def __init__(
        self,
        api: Api,
        *,
        namespace: str,
        name: str,
        identity: str,
        clock: Clock,
        wall: Callable[[], float],
        rng: random.Random,
        times: Times | None = None,
    ) -> None:
        self._api, self._clock, self._wall, self._rng = api, clock, wall, rng
        self._times = times or Times()
        self._namespace, self._name, self._identity = namespace, name, identity
        self._title = f"{namespace}/{name}"
        self._about = {"lease": self._title, "identity": identity}
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._lease: Json | None = None
        self._fresh = False
        self._seen = float("-inf")
        self._until = float("-inf")

    @property
    def leader(self) -> bool:
        """Whether we may act as the leader at this moment; ask again before every deed."""
        return self._clock() < self._until

    @property
    def holder(self) -> str:
        """Who holds the lease as far as we know; empty for nobody."""
        return str(self._spec().get("holderIdentity") or "")

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Wait for the lease, run `lead` while it is ours, and give it back at the end.

        Returns when `lead` does, or when the lease was lost, after `lead` was cancelled and has ended. Cancelling this
        does the same.
        """
        await self._acquire()
        _log.info("%s leads %s", self._identity, self._title, extra=self._about)
        leading = asyncio.ensure_future(lead())
        renewing = asyncio.ensure_future(self._renew())
        try:
            await asyncio.wait((leading, renewing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended = leading.done()
            for task in (leading, renewing):
                task.cancel()
            await asyncio.wait((leading, renewing))
            await self._release()
        if ended:
            leading.result()
        else:
            _log.warning("%s no longer leads %s", self._identity, self._title, extra=self._about)
            renewing.result()

    async def _acquire(self) -> None:
        while not await self._attempt(self._times.renew_deadline):
            pause = self._times.retry_period * (1.0 + self._times.jitter * self._rng.random())
            await self._clock.until(self._clock() + pause)

    async def _renew(self) -> None:
        """Return when the deadline has passed without a renewal."""
        while self.leader:
            await self._clock.until(min(self._clock() + self._times.retry_period, self._until))
            await self._attempt(self._until - self._clock())
            if self.holder != self._identity:
                self._until = float("-inf")  # somebody has it, by whatever right

    async def _attempt(self, seconds: float) -> bool:
        """One try to take or renew the lease, in at most so many seconds."""
        if seconds <= 0:
            return False
        try:
            return await within(self._clock, seconds, self._try())
        except Refused as refused:
            if refused.code not in (404, 409):  # 409: another was faster
                _log.warning("lease %s: %s", self._title, refused, extra=self._about)
        except OSError as wrong:
            _log.warning("lease %s: %s", self._title, wrong, extra=self._about)
        self._fresh = False  # what we sent may have come to pass or not
        return False

    async def _try(self) -> bool:
        if not (self._fresh and self._ours()):
            await self._look()
        sent = self._clock()
        if self._lease is None:
            body: Json = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": self._name, "namespace": self._namespace},
                "spec": self._renewed(taken=True) | {"leaseTransitions": 0},
            }
            answer = await self._api.send("POST", self._path, body)
        elif self._ours() or not self.holder or self._expired():
            taken = not self._ours()
            spec = self._spec() | self._renewed(taken=taken)
            if taken:
                spec["leaseTransitions"] = int(self._spec().get("leaseTransitions") or 0) + 1
            answer = await self._api.send("PUT", f"{self._path}/{self._name}", self._lease | {"spec": spec})
        else:
            return False
        self._observe(answer)
        self._fresh = True
        self._until = sent + self._times.renew_deadline
        return True

    async def _look(self) -> None:
        """What the API says now. When it was seen is when it arrived: later is safer."""
        try:
            self._observe(await self._api.send("GET", f"{self._path}/{self._name}"))
        except Refused as refused:
            if refused.code != 404:
                raise
            self._lease = None

    def _observe(self, lease: Json) -> None:
        if self._lease is None or lease.get("spec") != self._lease.get("spec"):
            self._seen = self._clock()
        self._lease = lease

    def _ours(self) -> bool:
        return self.holder == self._identity

    def _expired(self) -> bool:
        return self._clock() > self._seen + float(self._spec().get("leaseDurationSeconds") or 0)

    def _spec(self) -> dict[str, Any]:
        return (self._lease or {}).get("spec") or {}

    def _renewed(self, *, taken: bool) -> dict[str, Any]:
        # A wall clock that jumps back must not make two renewals equal: others count time by what changes.
        last = _seconds(self._spec().get("renewTime"))
        now = _micro(max(self._wall(), last + 1e-6) if self._ours() else self._wall())
        spec: dict[str, Any] = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": int(self._times.lease_duration),
            "renewTime": now,
        }
        return spec | ({"acquireTime": now} if taken else {})

    async def _release(self) -> None:
        """Let others in at once. Only what is surely ours is given back, and only if nobody was faster."""
        self._until = float("-inf")
        with contextlib.suppress(Refused, OSError):
            await within(self._clock, self._times.retry_period, self._give_back())

    async def _give_back(self) -> None:
        await self._look()
        if self._lease is not None and self._ours():
            spec = self._renewed(taken=False) | {"holderIdentity": "", "leaseDurationSeconds": 1}
            await self._api.send("PUT", f"{self._path}/{self._name}", self._lease | {"spec": self._spec() | spec})


def _micro(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _seconds(text: object) -> float:
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return 0.0
