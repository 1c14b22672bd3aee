"""Volumes out of nothing: every claim of a local cluster gets one, as a provisioner would make it.

A claim whose class waits for its first consumer gets it when a scheduler has chosen a node, any other at once. The
volume is as large as was asked for and may be used from anywhere, since nothing is stored. Volumes that somebody made
and claims that name one are left alone; so are classes without a provisioner, which is what such a class means, and
those whose provisioner is registered as a CSIDriver: whoever runs it serves them.
"""

from __future__ import annotations

from quartermaster.api.volumes import BIND_COMPLETED, NO_PROVISIONER, SELECTED_NODE
from quartermaster.local.controllers import pods
from quartermaster.local.controllers.manager import Controller, Watch
from quartermaster.local.controllers.objects import (
    CLAIMS,
    CSI_DRIVERS,
    STORAGE_CLASSES,
    VOLUMES,
    Json,
    Key,
    Objects,
    changed,
    key_of,
)
from quartermaster.local.controllers.writes import Create, Delete, Outcome, Update, write

PROVISIONER = "quartermaster.dev/simulated"


def reconcile(objects: Objects, key: Key, now: float) -> Outcome:
    """Make the volume of a claim, bind the two, and let the volume go with the claim."""
    del now
    claim = objects.get(CLAIMS, key)
    if claim is None or pods.is_going(claim):
        return Outcome(tuple(Delete(VOLUMES, volume) for volume in objects.every(VOLUMES) if _made_for(volume) == key))
    if claim["spec"].get("volumeName") or not _may(objects, claim):
        return Outcome()
    name = f"pvc-{claim['metadata']['uid']}"
    if objects.get(VOLUMES, ("", name)) is None:
        return write(Create(VOLUMES, _volume(claim, name)))
    bound = changed(claim)
    bound["spec"]["volumeName"] = name
    bound["metadata"].setdefault("annotations", {})[BIND_COMPLETED] = "yes"
    told = changed(claim)
    told["status"] = {
        "phase": "Bound",
        "accessModes": claim["spec"].get("accessModes", []),
        "capacity": claim["spec"]["resources"]["requests"],
    }
    if (claim.get("status") or {}).get("phase") != "Bound":
        return write(Update(CLAIMS, told, "status"))
    return write(Update(CLAIMS, bound))


def _may(objects: Objects, claim: Json) -> bool:
    """Whether it is time."""
    name = claim["spec"].get("storageClassName")
    found = objects.get(STORAGE_CLASSES, ("", name)) if name else None
    if found is None:
        return not name  # without a class it is what there is; with one that is not there, it waits
    if found["provisioner"] == NO_PROVISIONER or objects.get(CSI_DRIVERS, ("", found["provisioner"])) is not None:
        return False
    waits = found.get("volumeBindingMode") == "WaitForFirstConsumer"
    return not waits or SELECTED_NODE in (claim["metadata"].get("annotations") or {})


def _volume(claim: Json, name: str) -> Json:
    about, spec = claim["metadata"], claim["spec"]
    return {
        "apiVersion": "v1",
        "kind": VOLUMES.kind,
        "metadata": {"name": name, "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER}},
        "spec": {
            "capacity": spec["resources"]["requests"],
            "accessModes": spec.get("accessModes", []),
            "storageClassName": spec.get("storageClassName") or "",
            "persistentVolumeReclaimPolicy": "Delete",
            "csi": {"driver": PROVISIONER, "volumeHandle": name},
            "claimRef": {
                "apiVersion": "v1",
                "kind": CLAIMS.kind,
                "namespace": about["namespace"],
                "name": about["name"],
                "uid": about["uid"],
            },
        },
    }


def _made_for(volume: Json) -> Key | None:
    """The claim that it was made for; None if somebody else made it."""
    made = (volume["metadata"].get("annotations") or {}).get("pv.kubernetes.io/provisioned-by") == PROVISIONER
    claim = volume["spec"].get("claimRef") or {}
    return (claim.get("namespace", ""), claim.get("name", "")) if made else None


def _itself(objects: Objects, claim: Json) -> list[Key]:
    del objects
    return [key_of(claim)]


def _of_volume(objects: Objects, volume: Json) -> list[Key]:
    del objects
    key = _made_for(volume)
    return [] if key is None else [key]


def _of_class(objects: Objects, found: Json) -> list[Key]:
    name = found["metadata"]["name"]
    return [key_of(claim) for claim in objects.every(CLAIMS) if claim["spec"].get("storageClassName") == name]


def _of_driver(objects: Objects, driver: Json) -> list[Key]:
    name = driver["metadata"]["name"]
    classes = [found for found in objects.every(STORAGE_CLASSES) if found["provisioner"] == name]
    return [key for found in classes for key in _of_class(objects, found)]


PROVISIONING = Controller(
    "volumes",
    reconcile,
    (
        Watch(CLAIMS, _itself),
        Watch(VOLUMES, _of_volume),
        Watch(STORAGE_CLASSES, _of_class),
        Watch(CSI_DRIVERS, _of_driver),
    ),
)
