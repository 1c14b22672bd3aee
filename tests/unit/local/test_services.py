"""Services: addresses and ports, given, kept and given up."""

from typing import Any

import pytest

from quartermaster.testing.kubernetes import Kubernetes, Refused, kubernetes

SERVICES = "services"


async def make(api: Kubernetes, name: str = "s", **spec: Any) -> dict[str, Any]:
    body = {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], **spec}}
    made: dict[str, Any] = (await api.create(SERVICES, body))["spec"]
    return made


async def test_addresses_are_given_once_and_again_when_free() -> None:
    async with kubernetes() as api:
        first, second = (await make(api, "a"))["clusterIP"], (await make(api, "b"))["clusterIP"]
        assert first != second
        with pytest.raises(Refused, match=f"failed to allocate IP {first}: provided IP is already allocated"):
            await make(api, "c", clusterIP=first)
        with pytest.raises(Refused, match="the provided network does not match the current range"):
            await make(api, "c", clusterIP="192.0.2.1")
        await api.delete(f"{SERVICES}/a")
        assert (await make(api, "c", clusterIP=first))["clusterIPs"] == [first]


async def test_a_service_that_is_not_made_gets_no_address_of_its_own() -> None:
    async with kubernetes() as api:
        dry = await api.create(f"{SERVICES}?dryRun=All", {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}})
        assert dry["spec"]["clusterIP"] == "10.96.0.0"


async def test_a_service_keeps_what_it_is_not_told_to_give_up() -> None:
    async with kubernetes() as api:
        ports = [{"name": "a", "port": 80}, {"name": "b", "port": 81}]
        made = await make(api, type="NodePort", ports=ports)
        numbers = {port["name"]: port["nodePort"] for port in made["ports"]}
        turned = {"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [*reversed(ports)]}}
        replaced = (await api.replace(f"{SERVICES}/s", turned))["spec"]
        assert replaced["clusterIP"] == made["clusterIP"]
        assert {port["name"]: port["nodePort"] for port in replaced["ports"]} == numbers


async def test_a_service_gives_up_what_its_type_has_no_use_for() -> None:
    async with kubernetes() as api:
        made = await make(api, type="LoadBalancer")
        assert made["allocateLoadBalancerNodePorts"] is True
        await api.patch(f"{SERVICES}/s/status", {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}]}}})
        plain = await api.patch(f"{SERVICES}/s", {"spec": {"type": "ClusterIP"}})
        assert plain["spec"]["clusterIP"] == made["clusterIP"]
        assert not {"allocateLoadBalancerNodePorts", "externalTrafficPolicy"} & plain["spec"].keys()
        assert plain["spec"]["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
        assert plain["status"] == {"loadBalancer": {}}
        gone = (await api.patch(f"{SERVICES}/s", {"spec": {"type": "ExternalName", "externalName": "a.example.dev"}}))[
            "spec"
        ]
        assert not {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"} & gone.keys()
        back = (await api.patch(f"{SERVICES}/s", {"spec": {"type": "ClusterIP", "externalName": None}}))["spec"]
        assert back["clusterIP"].startswith("10.96.")


async def test_ports_of_nodes_are_in_their_range_and_nobody_elses() -> None:
    async with kubernetes() as api:
        await make(api, "a", type="NodePort", ports=[{"port": 80, "nodePort": 30080}])
        with pytest.raises(Refused, match="provided port is already allocated"):
            await make(api, "b", type="NodePort", ports=[{"port": 80, "nodePort": 30080}])
        with pytest.raises(Refused, match="The range of valid ports is 30000-32767"):
            await make(api, "b", type="NodePort", ports=[{"port": 80, "nodePort": 80}])
        with pytest.raises(Refused, match="may not be used when `type` is 'ClusterIP'"):
            await make(api, "b", ports=[{"port": 80, "nodePort": 30081}])


async def test_addresses_do_not_change() -> None:
    async with kubernetes() as api:
        await make(api)
        other = {"clusterIP": "10.96.9.9", "clusterIPs": ["10.96.9.9"]}
        with pytest.raises(Refused, match=r"spec.clusterIPs\[0\].*may not change once set"):
            await api.patch(f"{SERVICES}/s", {"spec": other})
