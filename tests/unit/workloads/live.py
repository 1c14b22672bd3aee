"""Objects as a cluster has them: with UIDs, and references to who made them."""

from typing import Any

Json = dict[str, Any]


def made(api: str, kind: str, name: str, spec: Json | None = None, *, by: Json | None = None, **marks: Any) -> Json:
    """An object in the namespace ``ns``; `by` is the object that made it, `marks` are labels and annotations."""
    metadata: Json = {"name": name, "namespace": "ns", "uid": f"uid-{kind}-{name}".lower(), **marks}
    if by is not None:
        metadata["ownerReferences"] = [reference(by)]
    return {"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec or {}}


def reference(owner: Json, *, controller: bool = True) -> Json:
    """What stands in an object that `owner` made."""
    named = {key: owner["metadata"][key] for key in ("name", "uid")}
    return {"apiVersion": owner["apiVersion"], "kind": owner["kind"], **named, "controller": controller}


def pod(name: str, *, by: Json | None = None, spec: Json | None = None, **marks: Any) -> Json:
    """A pod."""
    return made("v1", "Pod", name, spec, by=by, **marks)
