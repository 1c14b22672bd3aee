"""Objects of our kinds, and what an API server with our definitions says of each: the embedded one and a real one."""

from typing import Any, NamedTuple

Json = dict[str, Any]

GIVEN = {"Queue": "queues", "PodGroup": "namespaces/default/podgroups", "Topology": "topologies"}
BASE = "/apis/quartermaster.dev/v1alpha1"


class Case(NamedTuple):
    name: str
    kind: str
    spec: Json
    refused: str = ""
    """Part of what is said; empty if it is taken."""

    @property
    def path(self) -> str:
        return f"{BASE}/{GIVEN[self.kind]}"

    @property
    def body(self) -> Json:
        value = {"apiVersion": "quartermaster.dev/v1alpha1", "kind": self.kind, "metadata": {"name": self.name}}
        return {**value, "spec": self.spec}


_PART = {"name": "a", "min": 1}
_NEAR = {"topology": "fabric", "required": "rack"}

CASES = (
    Case("bare", "Queue", {}),
    Case("both-bounds", "Queue", {"gpu": {"deserved": 4, "limit": 8}, "cpu": {"deserved": "500m", "limit": 1}}),
    Case("equal-in-other-words", "Queue", {"memory": {"deserved": "1Gi", "limit": "1024Mi"}}),
    Case("unlimited-up-to", "Queue", {"gpu": {"deserved": "unlimited", "limit": 1}}),
    Case("below-deserved", "Queue", {"gpu": {"deserved": 8, "limit": 4}}, "limit must not be below deserved"),
    Case("below-in-words", "Queue", {"memory": {"deserved": "1Gi", "limit": "1G"}}, "limit must not be below deserved"),
    Case("model-below", "Queue", {"gpuModels": {"H100": {"deserved": 3, "limit": 2}}}, "limit must not be below"),
    Case("negative", "Queue", {"gpu": {"deserved": -1}}, "greater than or equal to 0"),
    Case("no-amount", "Queue", {"gpu": {"deserved": "lots"}}, "should match"),
    Case("a-fraction", "Queue", {"gpu": {"deserved": 0.5}}, "spec.gpu.deserved"),
    Case("no-weight", "Queue", {"gpu": {"weight": -1}}, "greater than or equal to 0"),
    Case("runtimes", "Queue", {"reclaimMinRuntime": "1h30m", "preemptMinRuntime": "90s"}),
    Case("no-runtime", "Queue", {"reclaimMinRuntime": "soon"}, "should match"),
    Case("gang", "PodGroup", {"min": 4, "queue": "bare", "topology": _NEAR, "stalenessGrace": "never"}),
    Case("no-minimum", "PodGroup", {"queue": "bare"}, "min is missing: say how many pods"),
    Case("negative-minimum", "PodGroup", {"min": -1}, "greater than or equal to 0"),
    Case("tree", "PodGroup", {"subGroups": [{"name": "x"}, {**_PART, "parent": "x", "topology": _NEAR}]}),
    Case("no-pods-minimum", "PodGroup", {"subGroups": [{"name": "a"}]}, "min is missing: a sub-group of pods"),
    Case("no-parent", "PodGroup", {"subGroups": [{**_PART, "parent": "x"}]}, "parent must be another sub-group"),
    Case("own-parent", "PodGroup", {"subGroups": [{**_PART, "parent": "a"}]}, "parent must be another sub-group"),
    Case("twice", "PodGroup", {"subGroups": [_PART, _PART]}, "Duplicate value"),
    Case("asks-nothing", "PodGroup", {"min": 1, "topology": {"topology": "fabric"}}, "asks for nothing"),
    Case("fabric", "Topology", {"levels": [{"label": "z"}, {"label": "example.com/r", "alias": "rack", "hard": True}]}),
    Case("no-levels", "Topology", {"levels": []}, "at least 1 items"),
    Case("label-twice", "Topology", {"levels": [{"label": "a"}, {"label": "a"}]}, "Duplicate value"),
    Case("alias-is-label", "Topology", {"levels": [{"label": "a"}, {"label": "b", "alias": "a"}]}, "must be its own"),
    Case("alias-twice", "Topology",
         {"levels": [{"label": "a", "alias": "x"}, {"label": "b", "alias": "x"}]}, "must be its own"),
)  # fmt: skip
