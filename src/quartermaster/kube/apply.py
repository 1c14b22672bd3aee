"""Server-side apply: say what should be, under a name, and be told in plain words who else has a say in it."""

from __future__ import annotations

import re
from urllib.parse import quote

from quartermaster.kube.api import APPLY, Api, Json, Refused


class Conflict(Refused):
    """Others own fields with other values; `owners` says which."""

    def __init__(self, refused: Refused, name: str, owners: tuple[tuple[str, str], ...]) -> None:
        said = ", ".join(f"{field} is owned by {manager}" for field, manager in owners)
        fix = "leave these fields out, set them to the same values, or force"
        super().__init__(refused.code, f"{name}: {said}; {fix}", reason=refused.reason, details=refused.details)
        self.owners = owners


async def apply(api: Api, path: str, value: Json, *, manager: str, force: bool = False) -> Json:
    """Apply `value` to the object at `path`, which is made if it is not there; returns what it is then.

    `value` has apiVersion, kind and the fields that we want to own, and no others. Fields that were ours and are not
    named any more go. Raises Conflict, or Refused.
    """
    glue = "&" if "?" in path else "?"
    target = f"{path}{glue}fieldManager={quote(manager, safe='')}&force={'true' if force else 'false'}"
    try:
        return await api.send("PATCH", target, value, media=APPLY)
    except Refused as refused:
        owners = _owners(refused)
        if not owners:
            raise
        metadata = value.get("metadata") or {}
        name = "/".join(filter(None, (metadata.get("namespace"), metadata.get("name"))))
        raise Conflict(refused, f"{value.get('kind', '')} {name}", owners) from None


def _owners(refused: Refused) -> tuple[tuple[str, str], ...]:
    """Field and manager of each conflict, out of the causes of a 409."""
    return tuple(
        (str(cause.get("field", "")), _quoted(str(cause.get("message", ""))))
        for cause in refused.details.get("causes") or ()
        if cause.get("reason") == "FieldManagerConflict"
    )


def _quoted(message: str) -> str:
    found = re.search(r'"([^"]*)"', message)
    return found.group(1) if found else message
