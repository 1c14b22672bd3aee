"""Our definitions in a cluster: put there, or brought up to date, by server-side apply."""

from __future__ import annotations

from quartermaster.api.definitions import manifests
from quartermaster.kube.api import APPLY, Api

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


async def install_definitions(api: Api) -> None:
    """Have all our kinds served; raises Refused if that is not allowed."""
    for one in manifests():
        name = one["metadata"]["name"]
        path = f"{DEFINITIONS}/{name}?fieldManager=quartermaster&force=true"
        await api.send("PATCH", path, one, media=APPLY)
