"""Plays a story on a cluster, as somebody with a keyboard and as the kubelet, and keeps what there is after each step.

Which of several like pods a step means is decided by what they are and not by their names, so both clusters have the
same done to them.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from quartermaster.local.apiserver.codec import timestamp
from quartermaster.local.controllers import objects
from quartermaster.local.controllers.objects import PODS, Resource, controller_of
from tests.controllers.seeing import Eyes
from tests.controllers.sides import BRIEF_S, Json, Side, add_node
from tests.controllers.story import Step, Story

RESOURCES = {value.kind: value for value in vars(objects).values() if isinstance(value, Resource)}


async def play(side: Side, story: Story, wanted: dict[str, Any] | None = None) -> dict[str, Any]:
    """What there is after each step, by its name. `wanted` is what somebody hopes for: it shortens the waiting."""
    await side.ask("POST", "/api/v1/namespaces", {"metadata": {"name": story.namespace}})
    player = _Player(side, story)
    eyes = Eyes(side, story)
    seen: dict[str, Any] = {}
    for step in story.steps:
        await player.do(step)
        if step.options.get("unseen"):
            continue
        seen[step.name] = await side.rest(eyes.look, wanted=(wanted or {}).get(step.name))
    return seen


class _Player:
    def __init__(self, side: Side, story: Story) -> None:
        self._side, self._story = side, story
        self._pod = ""

    async def do(self, step: Step) -> None:
        if "$pod" in str(step.value):
            self._pod = (await self._chosen({}, 1))[0]["metadata"]["name"]
        options = {key: self._filled(option) for key, option in step.options.items()}
        doing: dict[str, Callable[[Any, Json], Awaitable[Any]]] = {
            "create": self._create,
            "patch": self._patch,
            "delete": self._delete,
            "node": self._add_node,
            "silent": self._silence,
            "kubelet": self._kubelet,
            "bind": self._bind,
            "pods": self._say_of,
            "let-go": self._let_go,
            "pass": self._pass,
        }
        await doing[step.action](self._filled(step.value), options)

    async def _create(self, value: Any, _: Json) -> None:
        for body in value if isinstance(value, list) else [value]:
            await self._side.ask("POST", RESOURCES[body["kind"]].path(self._story.namespace), body)

    async def _patch(self, value: str, options: Json) -> None:
        path = self._path(value, options.get("subresource", ""))
        await self._side.ask("PATCH", path, options["body"], media=options.get("as", "strategic"))

    async def _delete(self, value: str, options: Json) -> None:
        await self._side.ask("DELETE", self._path(value), options.get("body"))

    async def _add_node(self, value: str, options: Json) -> None:
        await add_node(self._side, value, labels=options.get("labels"), taints=options.get("taints"))

    async def _silence(self, value: str, _: Json) -> None:
        del self._side.alive[value]

    async def _pass(self, value: float, _: Json) -> None:
        await self._side.wait(value)

    async def _say_of(self, value: Json, options: Json) -> None:
        for pod in await self._chosen(options.get("which", {}), options.get("count")):
            await self._say(pod, value)

    def _filled(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._filled(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._filled(item) for item in value]
        if isinstance(value, str) and value.startswith("$ago-"):
            return timestamp(self._side.now() - int(value.removeprefix("$ago-")))
        words = {"$node": self._story.node, "$namespace": self._story.namespace, "$pod": self._pod}
        for word, meaning in words.items() if isinstance(value, str) else ():
            value = value.replace(word, meaning)
        return value

    def _path(self, what: str, subresource: str = "") -> str:
        kind, _, name = what.partition("/")
        return RESOURCES[kind].path(self._story.namespace, name, subresource)

    async def _pods(self) -> list[Json]:
        """Like pods in like order, whatever they are called."""
        found = (await self._side.ask("GET", PODS.path(self._story.namespace)))["items"]
        return sorted(found, key=_likeness)

    async def _kubelet(self, value: Any, options: Json) -> None:
        """One thing at a time, each looked at by the controllers before the next: so they all take the same path."""
        del value, options
        while await self._let_go(True, {}) or await self._bind("all", {}) or await self._start():
            await self._side.rest(self._versions, quiet=BRIEF_S)

    async def _versions(self) -> Any:
        found = (await self._side.ask("GET", PODS.path(self._story.namespace)))["items"]
        return {pod["metadata"]["uid"]: pod["metadata"]["resourceVersion"] for pod in found}

    async def _start(self) -> bool:
        for pod in await self._pods():
            if pod["status"].get("phase") == "Pending" and not pod["metadata"].get("deletionTimestamp"):
                await self._say(pod, {"phase": "Running", "ready": True})
                return True
        return False

    async def _bind(self, value: int | Literal["all"], _: Json) -> int:
        count = None if value == "all" else value
        loose = [
            pod
            for pod in await self._pods()
            if not pod["spec"].get("nodeName") and not pod["metadata"].get("deletionTimestamp")
        ]
        for pod in loose[:count]:
            target = {
                "metadata": {"name": pod["metadata"]["name"]},
                "target": {"name": _pinned(pod) or self._story.node},
            }
            await self._side.ask("POST", f"{self._pod_path(pod)}/binding", target)
        return len(loose[:count])

    async def _let_go(self, value: Any, _: Json) -> int:
        del value
        going = [pod for pod in await self._pods() if pod["metadata"].get("deletionGracePeriodSeconds")]
        for pod in going:
            await self._side.ask("DELETE", self._pod_path(pod), {"gracePeriodSeconds": 0})
        return len(going)

    def _pod_path(self, pod: Json) -> str:
        return PODS.path(self._story.namespace, pod["metadata"]["name"])

    async def _chosen(self, which: Json, count: int | None) -> list[Json]:
        found = [pod for pod in await self._pods() if _fits(pod, which)]
        assert len(found) >= (count or 1), f"{self._story.name}: {which}: only {len(found)} pods"
        return found[:count]

    async def _say(self, pod: Json, saying: Json) -> None:
        now = timestamp(self._side.now())
        phase, code = saying.get("phase"), saying.get("exit")
        told: Json = {"phase": phase} if phase else {}
        ready = bool(saying.get("ready"))
        listed = [{"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": now}]
        if "condition" in saying:
            listed.append({"status": "True", "lastTransitionTime": now, **saying["condition"]})
        state: Json = {"running": {"startedAt": now}} if phase == "Running" else {}
        if phase in ("Succeeded", "Failed"):
            code = (0 if phase == "Succeeded" else 1) if code is None else code
            state = {"terminated": {"exitCode": code, "startedAt": now, "finishedAt": now}}
        main = pod["spec"]["containers"][0]
        container = {"name": main["name"], "image": main["image"], "imageID": "", "ready": ready, "state": state}
        container["restartCount"] = saying.get("restarts", 0)
        told |= {"podIP": saying["ip"], "podIPs": [{"ip": saying["ip"]}]} if "ip" in saying else {}
        told |= {"conditions": listed, "startTime": now, "containerStatuses": [container]}
        await self._side.ask("PATCH", f"{self._pod_path(pod)}/status", {"status": told}, media="strategic")


def _pinned(pod: Json) -> str | None:
    """The node that a daemon's affinity names."""
    required = pod["spec"].get("affinity", {}).get("nodeAffinity", {})
    for term in required.get("requiredDuringSchedulingIgnoredDuringExecution", {}).get("nodeSelectorTerms", ()):
        for field in term.get("matchFields", ()):
            return str(field["values"][0])
    return None


def _fits(pod: Json, which: Json) -> bool:
    about = pod["metadata"]
    return (
        bool(about.get("deletionTimestamp")) == bool(which.get("going"))
        and which.get("name", about["name"]) == about["name"]
        and which.get("labels", {}).items() <= about.get("labels", {}).items()
        and which.get("phase", pod["status"].get("phase")) == pod["status"].get("phase")
        and which.get("bound", bool(pod["spec"].get("nodeName"))) == bool(pod["spec"].get("nodeName"))
        and which.get("image", pod["spec"]["containers"][0]["image"]) == pod["spec"]["containers"][0]["image"]
    )


def _likeness(pod: Json) -> tuple[str, ...]:
    """Sorts pods by everything but what chance gave them; the ties are alike."""
    about, told = pod["metadata"], pod["status"]
    owner = controller_of(pod)
    return (
        about.get("generateName", about["name"]).rpartition("-")[0] if owner is None else owner["kind"],
        json.dumps(pod["spec"]["containers"], sort_keys=True),
        str(about.get("annotations", {}).get("batch.kubernetes.io/job-completion-index", "")),
        about["name"] if "generateName" not in about else "",
        _pinned(pod) or "",
        pod["spec"].get("nodeName", ""),
        told.get("phase", ""),
        json.dumps([(item["type"], item["status"]) for item in told.get("conditions", ())]),
        str(bool(about.get("deletionTimestamp"))),
        about["creationTimestamp"],
    )
