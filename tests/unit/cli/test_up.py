"""A whole local cluster in the test's own process, on a clock that jumps: nothing sleeps, and a day takes seconds."""

import re
from collections import Counter
from datetime import datetime
from pathlib import Path

import pytest

from quartermaster.api import pods as api_pods
from quartermaster.api.objects import PodObject, read
from quartermaster.cli.main import main
from quartermaster.kube.api import Refused
from quartermaster.local.demo.day import shipped_day
from quartermaster.local.fleet import marks, operating
from quartermaster.local.fleet.chaos import shipped
from quartermaster.local.fleet.counts import counts
from quartermaster.local.fleet.operating import Fault
from quartermaster.local.fleet.presets import Fleet, Pool, default_fleet
from tests.unit.cli.cluster import SMALL, Json, Local, condition, devices_of, local, workload


async def test_nodes_join_within_two_seconds() -> None:
    async with local() as it:
        await it.after(2.0)
        nodes = (await it.client.send("GET", "/api/v1/nodes"))["items"]
        assert {node["metadata"]["name"]: condition(node, "Ready")["status"] for node in nodes} == dict.fromkeys(
            ("h-0", "h-1", "m-0", "c-0"), "True"
        )
        slices = (await it.client.send("GET", "/apis/resource.k8s.io/v1/resourceslices"))["items"]
        assert sorted(item["spec"]["nodeName"] for item in slices) == ["h-0", "h-1", "m-0"]


async def test_a_pod_runs_for_its_time_and_succeeds() -> None:
    async with local() as it:
        await it.after(2)
        await it.submit("a", run=100, gpus=2)
        await it.after(10)
        pod = (await it.pods())["a"]
        assert pod["status"]["phase"] == "Running"
        assert condition(pod, "Ready")["status"] == "True"
        assert pod["spec"]["nodeName"].startswith("h-")
        assert devices_of(pod) == (0, 1)
        await it.after(80)
        assert await it.phases() == {"a": "Running"}
        await it.after(15)
        assert await it.phases() == {"a": "Succeeded"}


async def test_no_device_is_given_twice_and_what_ends_makes_room() -> None:
    async with local() as it:
        await it.after(2)
        for index in range(20):
            await it.submit(f"p{index}", run=50, gpus=3)
        held: dict[str, set[tuple[str, int]]] = {}
        for _ in range(60):
            await it.after(10)
            now: Counter[tuple[str, int]] = Counter()
            for pod in (await it.pods()).values():
                if pod["spec"].get("nodeName") and not api_pods.ended(read(PodObject, pod)):
                    devices = devices_of(pod)
                    assert devices is not None
                    held[pod["metadata"]["name"]] = {(pod["spec"]["nodeName"], device) for device in devices}
                    now.update(held[pod["metadata"]["name"]])
            assert max(now.values(), default=0) <= 1
        assert set((await it.phases()).values()) == {"Succeeded"}
        assert len(held) == 20


async def test_a_gang_starts_wholly_or_waits_and_says_why() -> None:
    async with local() as it:
        await it.after(2)
        await it.submit("one", run=100, gpus=1)
        await it.after(5)
        for index in range(2):
            await it.submit(f"gang-{index}", run=100, gpus=8, gang=2)
        await it.after(20)
        pods = await it.pods()
        assert [pods[f"gang-{index}"]["spec"].get("nodeName") for index in range(2)] == [None, None]
        said = condition(pods["gang-0"], "PodScheduled")
        assert (said["reason"], said["status"]) == ("Unschedulable", "False")
        assert "1 of 2 pods fit" in said["message"]
        await it.after(100)
        pods = await it.pods()
        assert {pods[f"gang-{index}"]["spec"].get("nodeName") for index in range(2)} == {"h-0", "h-1"}


async def test_a_gang_waits_for_the_last_of_its_pods() -> None:
    async with local() as it:
        await it.after(2)
        await it.submit("gang-0", gpus=1, gang=2)
        await it.after(30)
        assert await it.phases() == {"gang-0": "Pending"}
        await it.submit("gang-1", gpus=1, gang=2)
        await it.after(10)
        assert await it.phases() == {"gang-0": "Running", "gang-1": "Running"}


async def test_important_pods_have_others_evicted() -> None:
    async with local() as it:
        await it.after(2)
        high = {"metadata": {"name": "high"}, "value": 1000}
        await it.client.send("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", high)
        for index in range(2):
            await it.submit(f"low{index}", run=10_000, gpus=8)
        await it.after(10)
        wanted = workload("urgent", run=100, gpus=8)
        wanted["spec"]["priorityClassName"] = "high"
        await it.client.send("POST", "/api/v1/namespaces/default/pods", wanted)
        await it.after(20)
        phases = await it.phases()
        assert phases["urgent"] == "Running"
        assert len(phases) == 2, "one of the others was evicted, and is gone: nobody makes it anew"


async def test_mig_instances_are_resources_and_can_be_cut_anew() -> None:
    async with local() as it:
        await it.after(2)
        await it.submit("small", run=60, requests={"nvidia.com/mig-1g.5gb": "1"})
        await it.after(5)
        assert (await it.pods())["small"]["spec"]["nodeName"] == "m-0"
        await operating.break_node(it.client, "m-0", Fault(kind="mig", config="all-balanced"))
        await it.after(20)
        assert (await it.node("m-0"))["metadata"]["labels"]["nvidia.com/mig.config.state"] == "failed", "in use"
        await it.after(60)
        await operating.break_node(it.client, "m-0", Fault(kind="mig", config="all-2g.10gb"))
        await it.submit("medium", run=None, requests={"nvidia.com/mig-2g.10gb": "1"})
        await it.after(20)
        assert (await it.node("m-0"))["status"]["allocatable"]["nvidia.com/mig-2g.10gb"] == "12"
        assert await it.phases() == {"small": "Succeeded", "medium": "Running"}


async def slices(it: Local, name: str) -> list[Json]:
    found = await it.client.send("GET", "/apis/resource.k8s.io/v1/resourceslices")
    return [item["spec"] for item in found["items"] if item["spec"].get("nodeName") == name]


async def test_another_cut_is_published_in_slices_and_labels() -> None:
    async with local() as it:
        await it.after(3)
        (before,) = await slices(it, "m-0")
        assert len(before["devices"]) == 28
        await operating.break_node(it.client, "m-0", Fault(kind="mig", config="all-balanced"))
        await it.after(10)
        (spec,) = await slices(it, "m-0")
        assert spec["pool"]["generation"] == before["pool"]["generation"] + 1
        profiles = Counter(device["attributes"]["profile"]["string"] for device in spec["devices"])
        assert profiles == {"1g.5gb": 8, "2g.10gb": 4, "3g.20gb": 4}
        labels = (await it.node("m-0"))["metadata"]["labels"]
        counts = {
            name.split("-")[1]: count for name, count in labels.items() if re.fullmatch(r".*/mig-[^/]*\.count", name)
        }
        assert counts == {"1g.5gb.count": "8", "2g.10gb.count": "4", "3g.20gb.count": "4"}
        await operating.break_node(it.client, "m-0", Fault(kind="mig", config="all-7g.999gb"))
        await it.after(10)
        assert await slices(it, "m-0") == [spec], "what was refused changes nothing"
        await operating.break_node(it.client, "m-0", Fault(kind="mig", config="all-disabled"))
        await it.after(10)
        labels = (await it.node("m-0"))["metadata"]["labels"]
        assert [name for name in labels if name.startswith("nvidia.com/mig-")] == []
        assert [device["name"] for device in (await slices(it, "m-0"))[0]["devices"]] == [f"gpu-{n}" for n in range(4)]


async def test_a_pod_with_a_claim_runs_when_it_has_its_devices() -> None:
    async with local(Fleet(pools=[Pool(preset="a30", name="d", dynamic_mig=True)])) as it:
        await it.after(3)
        assert "nvidia.com/gpu" not in (await it.node("d-0"))["status"]["capacity"]
        selector = {"cel": {"expression": "device.attributes['gpu.nvidia.com'].profile == '2g.12gb'"}}
        request = {"name": "g", "exactly": {"deviceClassName": "mig.nvidia.com", "selectors": [selector], "count": 8}}
        template = {"metadata": {"name": "halves"}, "spec": {"spec": {"devices": {"requests": [request]}}}}
        path = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaimtemplates"
        await it.client.send("POST", path, template)
        for name in ("a", "b"):
            body = workload(name, run=100)
            body["spec"]["resourceClaims"] = [{"name": "gpu", "resourceClaimTemplateName": "halves"}]
            await it.client.send("POST", "/api/v1/namespaces/default/pods", body)
            await it.after(5)
        await it.after(20)
        assert await it.phases() == {"a": "Running", "b": "Pending"}
        await it.after(110)
        assert await it.phases() == {"a": "Succeeded", "b": "Running"}


async def test_after_a_stormy_morning_every_node_is_there_and_either_well_or_marked() -> None:
    fleet = Fleet(pools=[*SMALL.pools, Pool(preset="l40s", name="s", spot=True, count=2)])
    async with local(fleet, chaos=shipped("stormy")) as it:
        seen: set[str] = set()
        for _ in range(24):
            await it.after(900)
            nodes = {node["metadata"]["name"]: node for node in (await it.client.send("GET", "/api/v1/nodes"))["items"]}
            for node in nodes.values():
                seen |= {
                    f"{name.rpartition('/')[2]} {'' if name.endswith(('xid', 'slowdown')) else value}".strip()
                    for name, value in node["metadata"]["annotations"].items()
                    if name in (marks.FAULT, marks.XID, marks.SLOWDOWN)
                }
        assert {"xid", "slowdown", "fault not-ready"} <= seen
        assert {"h-0", "h-1", "m-0", "c-0"} <= nodes.keys(), "a spot node may be away"
        for node in nodes.values():
            marked = {marks.FAULT, marks.XID} & node["metadata"]["annotations"].keys()
            assert marked or condition(node, "Ready")["status"] == "True"


async def test_an_xid_takes_the_device_and_its_pod_until_it_is_healed() -> None:
    async with local(Fleet(pools=[Pool(preset="dgx-h100", name="h")])) as it:
        await it.after(2)
        await it.submit("a", run=1000, gpus=2)
        await it.submit("b", run=1000, gpus=6)
        await it.after(10)
        lost = (devices_of((await it.pods())["a"]) or ())[0]
        await operating.break_node(it.client, "h-0", Fault(kind="xid", code=79, gpus=str(lost)))
        await it.after(5)
        assert await it.phases() == {"a": "Failed", "b": "Running"}
        assert (await it.node("h-0"))["status"]["allocatable"]["nvidia.com/gpu"] == "7"
        text = it.parts.exporter.text("h-0")
        assert text is not None
        assert re.search(rf'XID_ERRORS{{gpu="{lost}",.*err_code="79".*}} 79\n', text)
        await it.submit("two", run=1000, gpus=2)
        await it.submit("one", run=1000, gpus=1)
        await it.after(10)
        phases = await it.phases()
        assert (phases["one"], phases["two"]) == ("Running", "Pending")
        assert lost not in (devices_of((await it.pods())["one"]) or ())
        await operating.break_node(it.client, "h-0", Fault(kind="heal"))
        await it.client.send("DELETE", "/api/v1/namespaces/default/pods/one")
        await it.after(10)
        assert (await it.phases())["two"] == "Running"


async def test_a_drained_node_is_emptied_and_closed() -> None:
    async with local() as it:
        await it.after(2)
        await it.submit("a", run=1000, gpus=8)
        await it.after(10)
        node = (await it.pods())["a"]["spec"]["nodeName"]
        await operating.break_node(it.client, node, Fault(kind="drain"))
        await it.after(10)
        assert await it.phases() == {}
        await it.submit("b", run=1000, gpus=8)
        await it.after(10)
        assert (await it.pods())["b"]["spec"]["nodeName"] == {"h-0": "h-1", "h-1": "h-0"}[node]


async def test_a_spot_node_goes_after_its_notice_and_takes_its_pods_along() -> None:
    async with local() as it:
        await it.after(2)
        await it.submit("a", run=1000, gpus=8)
        await it.after(10)
        node = (await it.pods())["a"]["spec"]["nodeName"]
        await operating.break_node(it.client, node, Fault(kind="spot"))
        await it.after(100)
        assert (await it.node(node))["spec"]["taints"][0]["key"] == "quartermaster.dev/spot-interruption"
        await it.after(60)
        with pytest.raises(Refused):
            await it.node(node)
        assert await it.phases() == {}


async def test_a_silent_node_comes_back() -> None:
    async with local() as it:
        await it.after(2)
        await operating.break_node(it.client, "c-0", Fault(kind="not-ready"))
        await it.after(60)
        assert condition(await it.node("c-0"), "Ready")["status"] == "Unknown"
        await operating.break_node(it.client, "c-0", Fault(kind="heal"))
        await it.after(5)
        node = await it.node("c-0")
        assert condition(node, "Ready")["status"] == "True"
        assert not node["spec"].get("taints")


async def test_deployments_and_jobs_run_and_a_lost_node_is_replaced_after_its_grace() -> None:
    async with local() as it:
        await it.after(2)
        template = workload("x", run=None, gpus=4)
        spec = template["spec"] | {"restartPolicy": "Always"}
        labels = {"app": "web"}
        deployment = {
            "metadata": {"name": "web"},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        }
        job = {
            "metadata": {"name": "sum"},
            "spec": {"completions": 3, "template": {"spec": workload("x", run=None)["spec"]}},
        }
        await it.client.send("POST", "/apis/apps/v1/namespaces/default/deployments", deployment)
        await it.client.send("POST", "/apis/batch/v1/namespaces/default/jobs", job)
        await it.after(30)
        found = await it.client.send("GET", "/apis/apps/v1/namespaces/default/deployments/web")
        assert found["status"]["readyReplicas"] == 2
        await it.after(300)
        found = await it.client.send("GET", "/apis/batch/v1/namespaces/default/jobs/sum")
        assert found["status"]["succeeded"] == 3
        web = {name: pod["spec"]["nodeName"] for name, pod in (await it.pods()).items() if name.startswith("web")}
        lost = next(iter(web.values()))
        await operating.break_node(it.client, lost, Fault(kind="not-ready"))
        await it.after(300)
        assert set(web) <= set(await it.pods()), "300 s have not passed since the node was found lost"
        await it.after(120)
        running = [
            pod["spec"]["nodeName"]
            for name, pod in (await it.pods()).items()
            if name.startswith("web") and "deletionTimestamp" not in pod["metadata"]
        ]
        assert len(running) == 2
        assert lost not in running


async def test_a_straggler_takes_longer() -> None:
    async with local() as it:
        await it.after(2)
        await it.submit("a", run=100, gpus=8)
        await it.after(10)
        await operating.break_node(
            it.client, (await it.pods())["a"]["spec"]["nodeName"], Fault(kind="straggler", factor=3)
        )
        await it.after(250)
        assert await it.phases() == {"a": "Running"}
        await it.after(60)
        assert await it.phases() == {"a": "Succeeded"}


async def test_metrics_follow_the_load_and_counters_only_rise() -> None:
    async with local() as it:
        await it.after(2)
        await it.submit("a", run=600, gpus=8, load="0.9")
        seen = []
        for _ in range(3):
            await it.after(300)
            name = "h-0" if it.parts.player.on("h-0") else "h-1"
            text = it.parts.exporter.text(name)
            assert text is not None
            rows = re.findall(r'^(\w+){gpu="0",.*} (\S+)$', text, re.MULTILINE)
            seen.append({metric: float(value) for metric, value in rows})
            if len(seen) == 1:
                assert 'container="main",namespace="default",pod="a"} ' in text
        busy, idle = seen[0], seen[2]
        assert 80 <= busy["DCGM_FI_DEV_GPU_UTIL"] <= 98
        assert busy["DCGM_FI_PROF_GR_ENGINE_ACTIVE"] == pytest.approx(busy["DCGM_FI_DEV_GPU_UTIL"] / 100, abs=0.01)
        assert (idle["DCGM_FI_DEV_GPU_UTIL"], idle["DCGM_FI_DEV_POWER_USAGE"]) == (0, 70)
        energy = [values["DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"] for values in seen]
        assert energy == sorted(energy)
        assert energy[1] - energy[0] == pytest.approx(300 * 1000 * busy["DCGM_FI_DEV_POWER_USAGE"], rel=0.1)
        assert it.parts.exporter.text("c-0") is None


async def test_a_demo_day_goes_well() -> None:
    async with local(default_fleet(), demo=True) as it:
        await it.after(23.75 * 3600)
        pods = await it.pods("demo")
        by_kind: dict[str, Counter[str]] = {}
        for pod in pods.values():
            kind = pod["metadata"]["labels"]["quartermaster.dev/demo"]
            by_kind.setdefault(kind, Counter())[pod["status"]["phase"]] += 1
        day = shipped_day()
        assert by_kind["service"] == {"Running": day.services[0].replicas[23]}
        assert set(by_kind["pipeline"]) == {"Succeeded"}
        assert {f"churn-{run}-compare" for run in range(8)} <= set(pods), "its last step, though nodes were drained"
        assert "notebook" not in by_kind, "all have been closed"
        jobs = (await it.client.send("GET", "/apis/batch/v1/namespaces/demo/jobs"))["items"]
        ended = {job["metadata"]["name"]: job["status"]["conditions"][-1]["type"] for job in jobs}
        checks = [name for name in ended if name.startswith("drift-check-")]
        assert len(checks) == 3, "what a CronJob keeps"
        assert ended == dict.fromkeys((job.name for job in day.jobs), "Complete") | dict.fromkeys(
            checks, "Complete"
        ) | {"leaky": "Failed"}
        (schedule,) = (await it.client.send("GET", "/apis/batch/v1/namespaces/demo/cronjobs"))["items"]
        since = datetime.fromisoformat(schedule["status"]["lastScheduleTime"]).timestamp()
        assert it.clock() - since < 1800
        pretrain = [pod for pod in pods.values() if pod["metadata"]["labels"].get("job-name") == "pretrain"]
        assert Counter(pod["status"]["phase"] for pod in pretrain) == {"Succeeded": 3, "Failed": 1}, "by the Xid"
        found = counts((await it.client.send("GET", "/api/v1/nodes"))["items"], list(pods.values()))
        assert found["nodes"] == {"ready": 12, "total": 12}


async def test_a_demo_day_is_the_same_twice() -> None:
    async def places() -> list[tuple[str, str, str]]:
        async with local(default_fleet(), demo=True) as it:
            await it.after(2 * 3600)
            pods = await it.pods("demo")
            return [(name, pod["spec"].get("nodeName", ""), pod["status"]["phase"]) for name, pod in pods.items()]

    first = await places()
    assert len(first) > 30
    assert await places() == first


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["up", "--demo", "--data-dir", "x"], "--demo"),
        (["up", "--port", "x"], "--port"),
        (["up", "--hours", "2"], "--hours: without --demo"),
        (["up", "--demo", "--hours", "25"], "--hours: '25' is out of range"),
        (["up", "--demo", "--speed", "fast"], "--speed: 'fast' is out of range"),
        (["up", "--fleet", "/nowhere"], "--fleet /nowhere"),
        (["up", "--api", "real"], "--api real: kube-apiserver and etcd: are not on this machine"),
        (["status"], "local cluster: is not running"),
        (["reset"], "local cluster: is not running"),
        (["fleet", "list"], "local cluster: is not running"),
        (["fleet", "list", "--kubeconfig", "/nowhere"], "kubeconfig /nowhere"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: {message}")
    assert told.count("\n") == 1


def test_presets_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fleet", "presets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines} >= {
        "dgx-h100",
        "hgx-h200",
        "a100-mig",
        "a30",
        "l40s",
        "gb200-nvl72",
        "cpu",
    }


def test_down_without_a_cluster_is_no_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert main(["down"]) == 0
    assert capsys.readouterr().out == "nothing is running\n"
