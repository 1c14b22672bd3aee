"""The service account ``default`` of every namespace, which pods get that name none."""

from __future__ import annotations

from quartermaster.local.controllers import pods
from quartermaster.local.controllers.objects import ACCOUNTS, NAMESPACES, Json, Key, Objects
from quartermaster.local.controllers.writes import Create, Outcome, write


def reconcile(objects: Objects, key: Key, now: float) -> Outcome:
    """Make it where it is missing."""
    del now
    found, name = objects.get(NAMESPACES, key), key[1]
    if found is None or pods.is_going(found) or objects.get(ACCOUNTS, (name, "default")) is not None:
        return Outcome()
    about = {"name": "default", "namespace": name}
    return write(Create(ACCOUNTS, {"apiVersion": "v1", "kind": ACCOUNTS.kind, "metadata": about}))


def of_account(objects: Objects, account: Json) -> list[Key]:
    """Its namespace, if it is the default one."""
    del objects
    about = account["metadata"]
    return [("", about["namespace"])] if about["name"] == "default" else []
