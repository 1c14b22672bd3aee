"""Claims, volumes and classes of a cluster, and what they mean for a pod: why it has to wait, and where it may be.

A bound claim ties its pods to the nodes that reach its volume. One that waits for its first consumer ties them to where
a volume is free for it, or can be made. Both become terms of the pod's node affinity, so whoever places, explains or
makes room honours them without knowing volumes.

Two pods may be shown the same free volume; who is placed first *takes* it (`take`), and the others are shown what is
left. Pods of one gang are placed together, so where that has gone wrong once, each of its claims is shown a *share* for
a while, with which it cannot go wrong again.

Not read: how many volumes a node can attach (CSINode), and how much room a provisioner has (CSIStorageCapacity): a
provisioner that has none takes the node off the claim, and the gang is decided on again.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import replace
from random import Random
from typing import Final, TypeVar

from quartermaster.api import volumes as api
from quartermaster.api.objects import Object, PodObject, read
from quartermaster.api.quantities import exact
from quartermaster.api.volumes import ANYWHERE, ClaimObject, ClassObject, Option, Terms, VolumeObject
from quartermaster.controllers.scheduler.sources import GroupKind, Sources
from quartermaster.kube.api import Json, Key
from quartermaster.model.labels import HOSTNAME, LabelSelector, Operator, Requirement
from quartermaster.model.pod import PodSpec

T = TypeVar("T", bound=Object)

CLAIMS: Final[GroupKind] = ("", "PersistentVolumeClaim")
VOLUMES: Final[GroupKind] = ("", "PersistentVolume")
CLASSES: Final[GroupKind] = ("storage.k8s.io", "StorageClass")

_NOWHERE: Final = (LabelSelector(requirements=(Requirement(key=HOSTNAME, operator=Operator.IN, values=("",)),)),)


class Volumes:
    """`changed` is told the pods for which something may be otherwise now; `placed` gives the node of a live pod."""

    def __init__(
        self,
        sources: Sources,
        *,
        changed: Callable[[set[str]], None],
        placed: Callable[[str], str] = lambda _: "",
        labels: Callable[[str], Mapping[str, str]] = lambda _: {},
    ) -> None:
        self._sources, self._changed, self._placed, self.labels = sources, changed, placed, labels
        self.claims: dict[Key, ClaimObject] = {}
        self.volumes: dict[str, VolumeObject] = {}
        self.classes: dict[str, ClassObject] = {}
        self.heard: Callable[[Key], None] = lambda _: None
        """Told of every claim that changed, or whose pod went."""
        self._of_class: dict[str, dict[str, VolumeObject]] = {}
        self._promised: dict[Key, set[str]] = {}
        """Volumes that are meant for a claim."""
        self._unbound: dict[str, set[Key]] = {}
        """Claims by class."""
        self._free: dict[Hashable, list[Option]] = {}
        """What is free for claims that ask for the same; made anew when volumes change."""
        self._pods: dict[str, tuple[str, tuple[Key, ...]]] = {}
        self._users: dict[Key, set[str]] = {}
        self._taken: dict[str, Key] = {}
        self._shares: dict[Key, frozenset[str]] = {}

    async def start(self) -> None:
        """Watch, and return when it is known what there is."""
        await self._sources.want(CLASSES, "storageclasses", ("v1",), self._class_changed)
        await self._sources.want(VOLUMES, "persistentvolumes", ("v1",), self._volume_changed)
        await self._sources.want(CLAIMS, "persistentvolumeclaims", ("v1",), self._claim_changed)

    # ---- pods

    def look(self, name: str, pod: PodObject) -> None:
        """A pod came or changed."""
        keys = tuple(_keys(pod))
        if not keys:
            return
        self._pods[name] = pod.metadata.uid, keys
        for key in keys:
            self._users.setdefault(key, set()).add(name)
        self._tell_rivals(name, keys)

    def gone(self, name: str) -> None:
        """A pod is no more."""
        _, keys = self._pods.pop(name, ("", ()))
        for key in keys:
            self._users[key].discard(name)
            if not self._users[key]:
                del self._users[key]
            self.heard(key)
        self._tell_rivals(name, keys)

    def there(self, name: str, pod: PodObject) -> bool:
        """Whether that very pod is still there."""
        return self._pods.get(name, ("", ()))[0] == pod.metadata.uid

    def users(self, key: Key) -> set[str]:
        """The pods that use a claim."""
        return self._users.get(key, set())

    # ---- what it means

    def blocks(self, name: str, pod: PodObject) -> str:
        """Why a pod cannot be decided on, in the words of kube-scheduler where it has some; empty if it can."""
        for claim, own in api.claims_of(pod):
            if why := self._blocks(name, pod, claim, own=own):
                return why
        waiting = self.unbound(pod)
        if waiting and not self._terms(waiting):
            names = ", ".join(f"'{claim.metadata.name}'" for claim in waiting)
            return f"didn't find available persistent volumes to bind: none is free for volume claim {names}"
        return ""

    def _blocks(self, name: str, pod: PodObject, wanted: str, *, own: bool) -> str:
        key = (pod.metadata.namespace, wanted)
        claim, said = self.claims.get(key), f"persistentvolumeclaim '{wanted}'"
        if claim is None:
            if missing := self._sources.missing(CLAIMS):
                return f"{said} cannot be read: {missing}"
            maker = "waiting for ephemeral volume controller to create the "
            return f"{maker}{said}" if own else f"{said} not found"
        if own and not api.owned(claim, pod):
            return f"{said} was not created for this pod"
        if claim.leaving:
            return f"{said} is being deleted"
        if claim.status.phase == "Lost" or (claim.bound and claim.spec.volume_name not in self.volumes):
            return f"{said} bound to non-existent persistentvolume '{claim.spec.volume_name}'"
        if api.ONE_POD in (claim.spec.access_modes or ()) and (other := self.holder(key, name)):
            return f"{said} is {api.ONE_POD} and in use by pod {other}"
        if claim.bound or (not claim.spec.volume_name and self._waits(claim)):
            return ""
        storage = claim.storage_class
        if storage and storage not in self.classes:
            return f"{said}: storageclass '{storage}' not found"
        return f"pod has unbound immediate PersistentVolumeClaims: waits for volume claim '{wanted}' to be bound"

    def narrowed(self, pod: PodObject, spec: PodSpec) -> PodSpec:
        """What a pod asks for, on the nodes that its claims leave it."""
        claims = self._claims(pod)
        if not claims:
            return spec
        parts = [ANYWHERE]
        for claim in claims:
            volume = self.volumes.get(claim.spec.volume_name)
            if claim.bound and volume is not None:
                parts.append(api.terms_of(volume))
        parts.append(self._terms(self.unbound(pod)))
        terms = api.product(*parts)
        if terms == ANYWHERE:
            return spec
        terms = api.product(spec.node_affinity or ANYWHERE, terms)
        return replace(spec, node_affinity=terms or _NOWHERE)

    def reached(self, pod: PodObject, node: str) -> str:
        """The volume of a pod that cannot be reached from a node; empty if all can."""
        labels = self.labels(node)
        for claim in self._claims(pod):
            volume = self.volumes.get(claim.spec.volume_name)
            if volume is not None and not api.matches(api.terms_of(volume), labels):
                return volume.name
        return ""

    def unbound(self, pod: PodObject) -> list[ClaimObject]:
        """The claims of a pod that are bound where the pod goes."""
        return [
            claim
            for claim in self._claims(pod)
            if not claim.bound and not claim.spec.volume_name and self._waits(claim)
        ]

    def single(self, pod: PodObject) -> list[ClaimObject]:
        """The claims of a pod that no other may use at the same time."""
        return [claim for claim in self._claims(pod) if api.ONE_POD in (claim.spec.access_modes or ())]

    def holder(self, key: Key, name: str) -> str:
        """Another pod that has a node and uses this claim."""
        return next((other for other in sorted(self.users(key)) if other != name and self._placed(other)), "")

    def options(self, claim: ClaimObject) -> list[Option]:
        """How a claim can be served, the best first: a volume that was promised, the smallest, one that is made."""
        selected = claim.annotations.get(api.SELECTED_NODE)
        if selected:
            return [Option("", api.on_node(selected))]
        storage = self.classes[claim.storage_class]
        promised = [self.volumes[name] for name in sorted(self._promised.get(claim.key, ()))]
        found = [_option(volume) for volume in promised if api.fits(volume, claim)]
        if found:
            return found
        free, share = self._free_for(claim), self._shares.get(claim.key)
        mine = [name for name, key in self._taken.items() if key == claim.key]
        if mine:
            free = [_option(self.volumes[name]) for name in mine]
        elif share is not None:
            free = [option for option in free if option.volume in share]
        made = [] if storage.provisioner == api.NO_PROVISIONER else [Option("", api.allowed(storage))]
        return free + made

    def _free_for(self, claim: ClaimObject) -> list[Option]:
        """What nobody has and claims like this one may have, the smallest first."""
        asked = api.asks(claim)
        found = self._free.get(asked)
        if found is None:
            there = self._of_class.get(claim.storage_class, {}).values()
            free = [
                volume
                for volume in there
                if volume.spec.claim_ref is None and volume.name not in self._taken and api.fits(volume, claim)
            ]
            free.sort(key=lambda volume: (exact(volume.size), volume.name))
            found = self._free[asked] = [_option(volume) for volume in free]
        return found

    def _terms(self, claims: Iterable[ClaimObject]) -> Terms:
        return api.places([self.options(claim) for claim in claims])

    def _claims(self, pod: PodObject) -> list[ClaimObject]:
        return [claim for key in dict.fromkeys(_keys(pod)) if (claim := self.claims.get(key)) is not None]

    def _waits(self, claim: ClaimObject) -> bool:
        storage = self.classes.get(claim.storage_class)
        return storage is not None and storage.waits

    # ---- what was decided

    def take(self, volume: str, claim: Key) -> None:
        """From now on a volume is this claim's."""
        self._taken[volume] = claim
        self._free_changed(self.volumes[volume].spec.storage_class_name)

    def give_back(self, volume: str) -> None:
        """It is not any more: what its object says holds."""
        if self._taken.pop(volume, None) is not None and volume in self.volumes:
            self._free_changed(self.volumes[volume].spec.storage_class_name)

    def share(self, keys: Iterable[Key], rng: Random) -> frozenset[Key]:
        """Show each of these claims volumes that none of the others is shown; returns those that have a share."""
        wanted = [claim for key in keys if (claim := self.claims.get(key)) is not None and not claim.bound]
        offered = {claim.key: [option.volume for option in self.options(claim) if option.volume] for claim in wanted}
        for volumes in offered.values():
            rng.shuffle(volumes)
        turns = sorted((key for key in offered if offered[key]), key=lambda key: (len(offered[key]), key))
        shares: dict[Key, set[str]] = {key: set() for key in turns}
        used: set[str] = set()
        while turns:
            again = []
            for key in turns:
                volume = next((volume for volume in offered[key] if volume not in used), None)
                if volume is None:
                    continue
                used.add(volume)
                shares[key].add(volume)
                if len(self.users(key)) == 1:  # pods that share a claim have to be where the one volume is
                    again.append(key)
            turns = again
        for key, share in shares.items():
            self._shares[key] = frozenset(share)
        self._claims_touched(shares)
        return frozenset(shares)

    def unshare(self, keys: Iterable[Key]) -> None:
        """Show these claims everything again."""
        for key in keys:
            self._shares.pop(key, None)
        self._claims_touched(keys)

    # ---- what is heard

    def _claim_changed(self, before: Json | None, after: Json | None) -> None:
        if before is not None:
            old = _as(ClaimObject, before)
            self._unbound.get(old.storage_class, set()).discard(old.key)
        claim = _as(ClaimObject, after or before)
        key = claim.key
        if after is None:
            self.claims.pop(key, None)
        else:
            self.claims[key] = claim
            if not claim.bound:
                self._unbound.setdefault(claim.storage_class, set()).add(key)
        self._claims_touched((key,))
        self.heard(key)

    def _volume_changed(self, before: Json | None, after: Json | None) -> None:
        free = False
        if before is not None:
            old = _as(VolumeObject, before)
            self._of_class.get(old.spec.storage_class_name, {}).pop(old.name, None)
            free = self._forget_promise(old)
        volume = _as(VolumeObject, after or before)
        if after is None:
            self.volumes.pop(volume.name, None)
            self._taken.pop(volume.name, None)
        else:
            self.volumes[volume.name] = volume
            self._of_class.setdefault(volume.spec.storage_class_name, {})[volume.name] = volume
            ref = volume.spec.claim_ref
            if ref is None:
                free = True
            else:
                self._taken.pop(volume.name, None)  # now the object says so
                self._promised.setdefault((ref.namespace, ref.name), set()).add(volume.name)
                self._claims_touched([(ref.namespace, ref.name)])
        if free:
            self._free_changed(volume.spec.storage_class_name)

    def _forget_promise(self, volume: VolumeObject) -> bool:
        """Whether there was none, so that all claims of the class could see the volume."""
        ref = volume.spec.claim_ref
        if ref is None:
            return True
        key = ref.namespace, ref.name
        self._promised[key].discard(volume.name)
        if not self._promised[key]:
            del self._promised[key]
        self._claims_touched([key])
        return False

    def _class_changed(self, before: Json | None, after: Json | None) -> None:
        storage = _as(ClassObject, after or before)
        name = storage.metadata.name
        if after is None:
            self.classes.pop(name, None)
        else:
            self.classes[name] = storage
        self._claims_touched(self._unbound.get(name, ()))

    def _free_changed(self, storage: str) -> None:
        """Other volumes of a class are free than before."""
        self._free.clear()
        self._claims_touched(self._unbound.get(storage, ()))

    def _claims_touched(self, keys: Iterable[Key]) -> None:
        pods = {pod for key in keys for pod in self.users(key)}
        if pods:
            self._changed(pods)

    def _tell_rivals(self, name: str, keys: Iterable[Key]) -> None:
        """Pods that wait for a claim which only one at a time may use."""
        rivals = {
            pod
            for key in keys
            if (claim := self.claims.get(key)) is not None and api.ONE_POD in (claim.spec.access_modes or ())
            for pod in self.users(key) - {name}
        }
        if rivals:
            self._changed(rivals)


def _option(volume: VolumeObject) -> Option:
    return Option(volume.name, api.terms_of(volume))


def _keys(pod: PodObject) -> list[Key]:
    return [(pod.metadata.namespace, name) for name, _ in api.claims_of(pod)]


def _as(kind: type[T], value: Json | None) -> T:
    assert value is not None, "something changed"
    return read(kind, value)
