"""Pods that ask for devices go where only such pods may go."""

from quartermaster.local.apiserver.admission_builtin import tolerate_extended_resources
from quartermaster.testing.kubernetes import kubernetes, pod


async def test_a_pod_tolerates_the_taint_of_what_it_asks_for_and_of_nothing_else() -> None:
    async with kubernetes() as api:
        api.server.admission.mutating.append(tolerate_extended_resources)
        asking = pod("asking")
        amounts = {"nvidia.com/gpu": "1", "cpu": "1", "kubernetes.io/batteries": "1"}
        asking["spec"]["containers"][0]["resources"] = {"limits": {"nvidia.com/gpu": "1"}, "requests": amounts}
        found = (await api.create("pods?dryRun=All", asking | {"metadata": {"name": "a"}}))["spec"]["tolerations"]
        assert {"key": "nvidia.com/gpu", "operator": "Exists"} in found
        assert [item["key"] for item in found if not item["key"].startswith("node.")] == ["nvidia.com/gpu"]
        plain = (await api.create("pods", pod("plain")))["spec"]["tolerations"]
        assert all(item["key"].startswith("node.") for item in plain)
