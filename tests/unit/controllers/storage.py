"""Storage for tests: claims, volumes and classes, and who binds them, as a persistent volume controller and a CSI
provisioner do: `Binder` sees every claim and volume and writes what these would."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from quartermaster.api.volumes import BIND_COMPLETED, NO_PROVISIONER, SELECTED_NODE
from quartermaster.kube.api import MERGE, Api, Refused
from quartermaster.kube.reflector import Reflector

Json = dict[str, Any]
CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"
VOLUMES = "/api/v1/persistentvolumes"
CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
DRIVERS = "/apis/storage.k8s.io/v1/csidrivers"
DRIVER = "disk.example.com"
HOST = "kubernetes.io/hostname"


def claim(name: str, storage: str = "disk", *, size: str = "10Gi", mode: str = "ReadWriteOnce", **spec: Any) -> Json:
    asked = {"accessModes": [mode], "storageClassName": storage, "resources": {"requests": {"storage": size}}}
    return {"metadata": {"name": name}, "spec": asked | spec}


def storage_class(name: str, *, provisioner: str = DRIVER, waits: bool = True, **more: Any) -> Json:
    mode = "WaitForFirstConsumer" if waits else "Immediate"
    return {"metadata": {"name": name}, "provisioner": provisioner, "volumeBindingMode": mode, **more}


def volume(name: str, storage: str, *nodes: str, size: str = "10Gi", **more: Any) -> Json:
    spec: Json = {
        "capacity": {"storage": size},
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": storage,
        **more,
    }
    if not nodes:
        spec["csi"] = {"driver": DRIVER, "volumeHandle": name}
    else:
        spec["local"] = {"path": f"/mnt/{name}"}
        term = {"matchExpressions": [{"key": HOST, "operator": "In", "values": list(nodes)}]}
        spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": [term]}}
    return {"metadata": {"name": name}, "spec": spec}


LOCAL = storage_class("local", provisioner=NO_PROVISIONER)


class Binder:
    """`refuses`: nodes on which its provisioner has no room; with `idle` it does nothing at all.

    With `provisions_only` it leaves binding to a real controller.
    """

    def __init__(self, client: Api, *, provisions_only: bool = False) -> None:
        self._client, self._provisions_only = client, provisions_only
        self.refuses: set[str] = set()
        self.idle = False
        self.chosen: list[tuple[str, str]] = []
        self._moved = asyncio.Event()
        self._claims: Reflector[Json] = Reflector(client, "/api/v1/persistentvolumeclaims", self._changed)
        self._volumes: Reflector[Json] = Reflector(client, VOLUMES, self._changed)
        self._classes: Reflector[Json] = Reflector(client, CLASSES, self._changed)

    def _changed(self, before: Json | None, after: Json | None) -> None:
        del before, after
        self._moved.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for mirror in (self._claims, self._volumes, self._classes):
                group.create_task(mirror.run())
            while True:
                await self._moved.wait()
                self._moved.clear()
                if not self.idle:
                    for found in list(self._volumes.objects.values()):
                        await self._offer(found)
                    for found in list(self._claims.objects.values()):
                        await self._serve(found)

    async def _offer(self, found: Json) -> None:
        if found["status"]["phase"] == "Pending" and not self._provisions_only:
            await self._client.send("PATCH", f"{_of(found)}/status", {"status": {"phase": "Available"}}, media=MERGE)

    async def _serve(self, found: Json) -> None:
        metadata, spec = found["metadata"], found["spec"]
        if BIND_COMPLETED in metadata.get("annotations", {}) or metadata.get("deletionTimestamp"):
            return
        name = spec.get("volumeName") or next(
            (
                one["metadata"]["name"]
                for one in self._volumes.objects.values()
                if one["spec"].get("claimRef", {}).get("uid") == metadata["uid"]
            ),
            None,
        )
        storage = self._classes.objects.get(("", spec["storageClassName"]))
        if name is None and storage is not None:
            name = await self._provision(found, storage)
        if name is not None and not self._provisions_only:
            await self._bind(found, name)

    async def _provision(self, found: Json, storage: Json) -> str | None:
        node = found["metadata"].get("annotations", {}).get(SELECTED_NODE)
        waits = storage["volumeBindingMode"] == "WaitForFirstConsumer"
        if storage["provisioner"] == NO_PROVISIONER or (waits and not node):
            return None
        self.chosen.append((found["metadata"]["name"], node or ""))
        if node in self.refuses:
            await self._client.send(
                "PATCH", _of(found), {"metadata": {"annotations": {SELECTED_NODE: None}}}, media=MERGE
            )
            return None
        name = f"pvc-{found['metadata']['uid']}"
        ref = {key: found["metadata"][key] for key in ("namespace", "name", "uid")}
        made = volume(name, found["spec"]["storageClassName"], *([node] if node else []))
        made["spec"]["accessModes"] = found["spec"]["accessModes"]
        made["spec"]["claimRef"] = ref | {"kind": "PersistentVolumeClaim", "apiVersion": "v1"}
        try:
            await self._client.send("POST", VOLUMES, made)
        except Refused as wrong:
            if wrong.code != 409:  # made already
                raise
        return name

    async def _bind(self, found: Json, name: str) -> None:
        done = {"metadata": {"annotations": {BIND_COMPLETED: "yes"}}, "spec": {"volumeName": name}}
        await self._client.send("PATCH", _of(found), done, media=MERGE)
        await self._client.send("PATCH", f"{_of(found)}/status", {"status": {"phase": "Bound"}}, media=MERGE)
        await self._client.send("PATCH", f"{VOLUMES}/{name}/status", {"status": {"phase": "Bound"}}, media=MERGE)


def _of(found: Json) -> str:
    metadata = found["metadata"]
    if "namespace" not in metadata:
        return f"{VOLUMES}/{metadata['name']}"
    return f"/api/v1/namespaces/{metadata['namespace']}/persistentvolumeclaims/{metadata['name']}"


@contextlib.asynccontextmanager
async def binding(client: Api, *, provisions_only: bool = False) -> AsyncIterator[Binder]:
    binder = Binder(client, provisions_only=provisions_only)
    task = asyncio.create_task(binder.run())
    try:
        yield binder
        if task.done():
            task.result()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
