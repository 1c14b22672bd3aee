"""kubectl's verbs that need no machines, over a socket: each of them, and what it shows."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from quartermaster.local.apiserver.local import LocalApi
from quartermaster.testing.kubernetes import Json
from tests.kubernetes.programs import Program

pytestmark = pytest.mark.kubernetes

GANG: Json = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "gangs.example.com"},
    "spec": {
        "group": "example.com",
        "names": {"plural": "gangs", "singular": "gang", "kind": "Gang", "shortNames": ["gg"], "categories": ["all"]},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "required": ["size"],
                                "properties": {
                                    "size": {"type": "integer", "minimum": 1, "description": "How many come together."},
                                    "members": {"type": "object", "additionalProperties": {"type": "string"}},
                                },
                            },
                            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        },
                    }
                },
                "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
                "subresources": {
                    "status": {},
                    "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"},
                },
            }
        ],
    },
}


def gang(size: int = 2, **spec: object) -> Json:
    return {
        "apiVersion": "example.com/v1",
        "kind": "Gang",
        "metadata": {"name": "g"},
        "spec": {"size": size, **spec},
    }


def config(**data: str) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "default"}, "data": data}


@contextlib.asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Program]:
    async with LocalApi(kubeconfig=folder / "kubeconfig"):
        yield Program("kubectl", folder / "kubeconfig")


async def test_forms_of_get(tmp_path: Path) -> None:
    async with served(tmp_path) as kubectl:
        await kubectl("create", "-f", "-", given=config(a="1"))
        await kubectl("run", "p", "--image=image", "--labels=app=web,tier=front")
        assert yaml.safe_load(await kubectl("get", "configmap", "c", "-o", "yaml"))["data"] == {"a": "1"}
        assert (await kubectl.json("get", "configmap", "c"))["data"] == {"a": "1"}
        assert await kubectl("get", "configmap", "c", "-o", "jsonpath={.data.a}") == "1"
        assert await kubectl("get", "configmap", "c", "-o", "go-template={{.data.a}}") == "1"
        assert await kubectl("get", "cm/c", "pod/p", "-o", "name") == "configmap/c\npod/p\n"
        columns = await kubectl("get", "pods", "-o", "custom-columns=N:.metadata.name,I:.spec.containers[0].image")
        assert [line.split() for line in columns.splitlines()] == [["N", "I"], ["p", "image"]]
        wide = (await kubectl("get", "pods", "-o", "wide", "-L", "tier", "--show-labels")).splitlines()
        assert wide[0].split()[:2] == ["NAME", "READY"]
        assert wide[0].split()[-2:] == ["TIER", "LABELS"]
        assert wide[1].split()[-2:] == ["front", "app=web,tier=front"]
        assert await kubectl("get", "pods", "-l", "tier in (back)") == "No resources found in default namespace.\n"
        assert await kubectl("get", "pods", "--field-selector=spec.nodeName=n", "-o", "name") == ""
        everywhere = await kubectl("get", "namespaces,pods", "-A", "--no-headers")
        assert "pod/p" in everywhere
        assert "namespace/kube-system" in everywhere
        await kubectl("create", "-f", "-", given=config(a="1") | {"metadata": {"name": "d", "namespace": "default"}})
        in_pages = await kubectl("get", "configmaps", "--chunk-size=1", "--sort-by=.metadata.name", "-o", "name")
        assert in_pages == "configmap/c\nconfigmap/d\n"


async def test_watching(tmp_path: Path) -> None:
    async with served(tmp_path) as kubectl:
        await kubectl("create", "-f", "-", given=config(a="1"))
        arguments = ("get", "configmaps", "--watch", "--output-watch-events", "--no-headers")
        async with kubectl.running(*arguments) as watching:
            assert (await watching.line()).split()[:3] == ["ADDED", "c", "1"]
            await kubectl("patch", "configmap", "c", "--type=merge", "-p", '{"data": {"b": "2"}}')
            assert (await watching.line()).split()[:3] == ["MODIFIED", "c", "2"]
            await kubectl("delete", "configmap", "c")
            assert (await watching.line()).split()[:2] == ["DELETED", "c"]


async def test_diff_and_apply_of_both_kinds(tmp_path: Path) -> None:
    async with served(tmp_path) as kubectl:
        assert '+  a: "1"' in await kubectl("diff", "-f", "-", given=config(a="1"), code=1)
        await kubectl("apply", "-f", "-", given=config(a="1"))
        assert await kubectl("diff", "-f", "-", given=config(a="1")) == ""
        changed = await kubectl("diff", "-f", "-", given=config(a="2"), code=1)
        assert ('-  a: "1"' in changed, '+  a: "2"' in changed) == (True, True)
        assert (await kubectl.json("get", "configmap", "c"))["data"] == {"a": "1"}
        last = json.loads(await kubectl("apply", "view-last-applied", "configmap", "c", "-o", "json"))
        assert last["data"] == {"a": "1"}
        # kubectl moves to the server's side what it owned on its own: what is not applied there any more goes.
        serverside = ("--server-side", "--field-manager=me", "--force-conflicts", "-f", "-")
        assert await kubectl("apply", *serverside, given=config(b="2")) == "configmap/c serverside-applied\n"
        assert '+  b: "3"' in await kubectl("diff", *serverside, given=config(b="3"), code=1)
        found = await kubectl.json("get", "configmap", "c", "--show-managed-fields")
        assert found["data"] == {"b": "2"}
        owners = [(entry["manager"], entry["operation"]) for entry in found["metadata"]["managedFields"]]
        assert owners == [("me", "Apply")]
        assert "annotations" not in found["metadata"]
        assert await kubectl("apply", "-f", "-", given=config()) == "configmap/c configured\n"
        assert (await kubectl.json("get", "configmap", "c"))["data"] == {"b": "2"}
        await kubectl("apply", "--prune", "-l", "set=x", "-f", "-", given=labelled("one", "two"))
        pruned = await kubectl("apply", "--prune", "-l", "set=x", "-f", "-", given=labelled("two"))
        assert "configmap/one pruned" in pruned


def labelled(*names: str) -> Json:
    items = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"set": "x"}}} for name in names
    ]
    return {"apiVersion": "v1", "kind": "List", "items": items}


async def test_edit_replace_and_patch(tmp_path: Path) -> None:
    async with served(tmp_path) as kubectl:
        await kubectl("create", "-f", "-", given=config(a="1"))
        editor = tmp_path / "editor"
        editor.write_text('#!/bin/sh\nsed -i "s/a: .1./a: edited/" "$1"\n', encoding="utf-8")
        editor.chmod(0o755)
        editing = Program("kubectl", tmp_path / "kubeconfig", KUBE_EDITOR=str(editor))
        assert await editing("edit", "configmap", "c") == "configmap/c edited\n"
        assert (await kubectl.json("get", "configmap", "c"))["data"] == {"a": "edited"}
        assert await editing("edit", "configmap", "c") == "Edit cancelled, no changes made.\n"
        assert await kubectl("replace", "-f", "-", given=config(b="2")) == "configmap/c replaced\n"
        added = '[{"op": "add", "path": "/data/c", "value": "3"}]'
        assert await kubectl("patch", "configmap", "c", "--type=json", "-p", added) == "configmap/c patched\n"
        assert await kubectl("patch", "configmap", "c", "-p", '{"data": {"b": null}}') == "configmap/c patched\n"
        assert (await kubectl.json("get", "configmap", "c"))["data"] == {"c": "3"}
        wrong = '[{"op": "test", "path": "/data/c", "value": "4"}]'
        refused = await kubectl("patch", "configmap", "c", "--type=json", "-p", wrong, code=1)
        assert refused == "The request is invalid: the server rejected our request due to an error in our request\n"


async def test_labels_and_annotations(tmp_path: Path) -> None:
    async with served(tmp_path) as kubectl:
        await kubectl("create", "-f", "-", given=config(a="1"))
        assert await kubectl("label", "configmap", "c", "a=b") == "configmap/c labeled\n"
        assert "'a' already has a value (b)" in await kubectl("label", "configmap", "c", "a=c", code=1)
        assert await kubectl("label", "configmap", "c", "a=c", "--overwrite") == "configmap/c labeled\n"
        assert await kubectl("label", "configmap", "c", "a-") == "configmap/c unlabeled\n"
        assert await kubectl("annotate", "configmaps", "--all", "why=so") == "configmap/c annotated\n"
        metadata = (await kubectl.json("get", "configmap", "c"))["metadata"]
        assert ("labels" in metadata, metadata["annotations"]) == (False, {"why": "so"})
        assert "Invalid value" in await kubectl("label", "configmap", "c", "a/b/c=d", code=1)


async def test_generators_and_deleting(tmp_path: Path) -> None:
    async with served(tmp_path) as kubectl:
        made = [
            await kubectl("create", *what.split())
            for what in (
                "namespace team",
                "configmap made --from-literal=a=b",
                "secret generic s --from-literal=a=b",
                "serviceaccount robot",
                "role reader --verb=get,list --resource=pods",
                "rolebinding readers --role=reader --serviceaccount=default:robot",
                "clusterrole all-nodes --verb=get --resource=nodes",
                "quota q --hard=pods=5",
                "deployment web --image=image --replicas=0",
                "service clusterip web --tcp=80:8080",
                "job once --image=image",
                "cronjob nightly --image=image --schedule=@daily",
                "poddisruptionbudget b --selector=app=web --min-available=1",
                "priorityclass urgent --value=1000",
                "ingress front --rule=a.example/x=web:80",
            )
        ]
        assert all(line.endswith("created\n") for line in made), made
        assert await kubectl("expose", "deployment", "web", "--port=80", "--name=exposed") == (
            "service/exposed exposed\n"
        )
        described = await kubectl(
            "describe",
            "sa/robot",
            "role/reader",
            "rolebinding/readers",
            "quota/q",
            "deployment/web",
            "service/web",
            "job/once",
            "cronjob/nightly",
            "pdb/b",
            "pc/urgent",
            "ingress/front",
            "ns/team",
        )
        for line in (r"Min available: +1", r"Completions: +1", r"/x +web:80", r"Status: +Active"):
            assert re.search(line, described), (line, described)
        assert "autoscaled" in await kubectl("autoscale", "deployment", "web", "--min=1", "--max=3", "--cpu=50%")
        assert (await kubectl("create", "token", "robot")).strip() != ""
        assert await kubectl("auth", "can-i", "list", "pods", "--as=system:serviceaccount:default:robot") == "yes\n"
        assert await kubectl("auth", "can-i", "delete", "pods", "--as=system:serviceaccount:default:robot", code=1) == (
            "no\n"
        )
        listed = await kubectl("auth", "can-i", "--list", "--as=system:serviceaccount:default:robot")
        assert re.search(r"pods +\[\] +\[\] +\[get list\]", listed)
        assert "system:masters" in await kubectl("auth", "whoami")
        assert await kubectl("delete", "configmap,secret", "--all", "--wait=false", "-o", "name") == (
            "configmap/made\nsecret/s\n"
        )
        assert await kubectl("delete", "cronjob", "nope", "--ignore-not-found") == ""
        waiting = asyncio.create_task(kubectl("wait", "namespace/team", "--for=delete", "--timeout=30s"))
        assert await kubectl("delete", "namespace", "team", "--timeout=30s") == 'namespace "team" deleted\n'
        await waiting


async def test_a_custom_resource_as_any_other(tmp_path: Path) -> None:
    async with served(tmp_path) as kubectl:
        await kubectl("create", "-f", "-", given=GANG)
        await kubectl("wait", "--for=condition=Established", "crd/gangs.example.com", "--timeout=30s")
        assert "GROUP:      example.com" in (explained := await kubectl("explain", "gang.spec"))
        assert "How many come together." in explained
        assert re.search(r"size\s+<integer> -required-", explained)
        assert "<map[string]string>" in explained
        assert "spec.size: Invalid value: 0" in await kubectl("apply", "-f", "-", given=gang(0), code=1)
        assert "unknown field" in await kubectl("apply", "-f", "-", given=gang(1, oops=1), code=1)
        assert await kubectl("apply", "-f", "-", given=gang(2, members={"a": "x"})) == "gang.example.com/g created\n"
        assert await kubectl("apply", "-f", "-", given=gang(2)) == "gang.example.com/g configured\n"
        assert "members" not in (await kubectl.json("get", "gg", "g"))["spec"]
        heading, row = (await kubectl("get", "gangs")).splitlines()
        assert (heading.split(), row.split()[:2]) == (["NAME", "SIZE"], ["g", "2"])
        assert "gang.example.com/g" in await kubectl("get", "all")
        assert await kubectl("scale", "gang/g", "--replicas=5") == "gang.example.com/g scaled\n"
        told = ("--subresource=status", "--type=merge", "-p", '{"status": {"phase": "Met", "size": 5}}')
        await kubectl("patch", "gang", "g", *told)
        await kubectl("wait", "gang/g", "--for=jsonpath={.status.phase}=Met", "--timeout=30s")
        described = await kubectl("describe", "gang", "g")
        assert re.search(r"Phase:\s+Met", described)
        assert re.search(r"Size:\s+5", described)
        assert await kubectl("delete", "crd", "gangs.example.com", "--timeout=30s") != ""
        assert "the server could not find the requested resource" in await kubectl("get", "gangs", code=1)


async def test_what_there_is(tmp_path: Path) -> None:
    async with served(tmp_path) as kubectl:
        found = await kubectl("api-resources", "--namespaced=true", "--verbs=list,watch", "-o", "name")
        assert {"pods", "deployments.apps", "leases.coordination.k8s.io"} <= set(found.split())
        wide = await kubectl("api-resources", "--api-group=apps", "-o", "wide")
        assert re.search(r"deployments +deploy +apps/v1 +true +Deployment +create,delete.* +all", wide)
        assert "apps/v1" in (await kubectl("api-versions")).split()
        assert "gitVersion: v1.36.3" in await kubectl("version", "-o", "yaml")
        assert "is running at https://127.0.0.1" in await kubectl("cluster-info")
        for path in ("pod.spec.containers.resources", "deployment.spec.strategy.rollingUpdate", "node.status"):
            assert "FIELDS" in await kubectl("explain", path)
        assert "nodeAffinity" in await kubectl("explain", "pod.spec.affinity", "--recursive")
        assert "does not exist" in await kubectl("explain", "pod.spec.nope", code=1)
        assert await kubectl("get", "--raw", "/readyz") == "ok"
