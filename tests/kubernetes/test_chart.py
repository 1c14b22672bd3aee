"""The chart with the real helm: what it renders, and that the real and the embedded server take it and give it back."""

import json
from pathlib import Path

import pytest

from tests.kubernetes.clients import Clients, clients
from tests.kubernetes.rendering import EVERYTHING, GOLDEN, SPACE, golden, helm, rendered
from tests.kubernetes.server import Server
from tools.generated import CHART, ROOT

__all__ = ["clients"]


@pytest.mark.usefixtures("kubernetes")
class TestRendering:
    def test_lint_finds_nothing(self) -> None:
        assert "0 chart(s) failed" in helm("lint", "--strict", str(CHART))

    @pytest.mark.parametrize("name", GOLDEN)
    def test_what_is_rendered_is_what_was_looked_at(self, name: str) -> None:
        assert golden(name) == (ROOT / f"tests/golden/{name}.yaml").read_text()

    @pytest.mark.parametrize(
        "value", ["replicas=-1", "logFormat=xml", "image.digest=latest", "no.such=1", "schedulerNames={}"]
    )
    def test_a_value_that_makes_no_sense_is_refused(self, value: str) -> None:
        assert "values don't meet the specifications" in helm("template", "qm", str(CHART), "--set", value, code=1)

    def test_every_namespaced_object_is_in_the_release_s_namespace_and_labelled(self) -> None:
        cluster = {"CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding", "PriorityClass"}
        cluster |= {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "ValidatingWebhookConfiguration"}
        for item in rendered(*EVERYTHING):
            metadata = item["metadata"]
            assert (metadata.get("namespace") == SPACE) == (item["kind"] not in cluster), item["kind"]
            assert metadata["labels"]["app.kubernetes.io/managed-by"] == "Helm", item["kind"]

    def test_what_is_switched_off_is_not_there(self) -> None:
        off = ("rbac.create=false", "serviceAccount.create=false", "crds.install=false", "priorityClasses.create=false")
        more = ("admission.policies=false", "admission.webhook=false", "networkPolicy.enabled=false", "replicas=1")
        found = rendered(*off, *more)
        assert sorted(item["kind"] for item in found) == ["Deployment", "Pod", "Service"]
        (deployment,) = (item for item in found if item["kind"] == "Deployment")
        arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
        assert not [argument for argument in arguments if "webhook" in argument]


def names(clients: Clients, kind: str) -> set[str]:
    answer = clients.run("kubectl", "get", kind, "-A", "-o", "json", "-l", "app.kubernetes.io/part-of=quartermaster")
    return {item["metadata"]["name"] for item in json.loads(answer)["items"]}


def test_install_upgrade_and_uninstall(clients: Clients, kubernetes: Server, tmp_path: Path) -> None:
    chart = str(ROOT / CHART)
    words = ("qm", chart, "--namespace", SPACE)
    clients.run("helm", "install", *words, "--create-namespace")
    assert names(clients, "deployments") == {"qm-quartermaster"}
    defined = names(clients, "customresourcedefinitions")
    assert defined == {f"{kind}.quartermaster.dev" for kind in ("queues", "podgroups", "topologies")}
    queue = {"apiVersion": "quartermaster.dev/v1alpha1", "kind": "Queue", "metadata": {"name": "kept"}, "spec": {}}
    (tmp_path / "queue.json").write_text(json.dumps(queue))
    clients.until("kubectl", "create", "-f", str(tmp_path / "queue.json"))

    # An older definition is brought up to date by an upgrade.
    words_of = {"op": "replace", "path": "/spec/names/shortNames", "value": ["older"]}
    crd = "customresourcedefinition/queues.quartermaster.dev"
    clients.run("kubectl", "patch", crd, "--type=json", "-p", json.dumps([words_of]))
    clients.run("helm", "upgrade", *words, "--set", "replicas=3", "--force-conflicts")
    assert "qmq" in clients.run("kubectl", "get", crd, "-o", "jsonpath={.spec.names.shortNames}")
    replicas = ("get", "deployment", "qm-quartermaster", "-n", SPACE, "-o", "jsonpath={.spec.replicas}")
    assert clients.run("kubectl", *replicas) == "3"

    clients.run("helm", "uninstall", "qm", "--namespace", SPACE)
    assert names(clients, "deployments") == names(clients, "clusterroles") == set()
    assert names(clients, "customresourcedefinitions") == defined, "they are kept, and what is in them"
    assert clients.run("kubectl", "get", "queues.quartermaster.dev", "-o", "name") == "queue.quartermaster.dev/kept"
    clients.run("helm", "install", *words)
    clients.run("helm", "uninstall", "qm", "--namespace", SPACE)
    clients.run("kubectl", "delete", *(f"crd/{name}" for name in sorted(defined)))


def test_a_queue_in_use_is_not_deleted(clients: Clients) -> None:
    chart = str(ROOT / CHART)
    clients.run("helm", "install", "qm", chart, "--namespace", SPACE, "--create-namespace")
    try:
        queue = "apiVersion: quartermaster.dev/v1alpha1\nkind: Queue\nmetadata: {name: org}\nspec: {}\n"
        clients.until("kubectl", "get", "queues.quartermaster.dev")
        clients.run("kubectl", "apply", "-f", "-", given=queue)
        tell = ("patch", "queue.quartermaster.dev", "org", "--subresource=status", "--type=merge", "-p")
        clients.run("kubectl", *tell, '{"status": {"children": ["a", "b"], "runningGroups": 0}}')
        delete = ("delete", "queue.quartermaster.dev", "org")
        # The policy is in force a moment after it is there; a dry run asks without harm.
        deadline = 200
        while "a, b" not in (said := clients.ask("kubectl", *delete, "--dry-run=server")[1]):
            deadline -= 1
            assert deadline, said
        assert "queue org has queues below it: a, b; delete these first" in clients.run("kubectl", *delete, code=1)
        clients.run("kubectl", *tell, '{"status": {"children": [], "runningGroups": 2}}')
        assert "queue org has groups that run" in clients.run("kubectl", *delete, code=1)
        clients.run("kubectl", *tell, '{"status": {"runningGroups": 0}}')
        clients.run("kubectl", *delete)
    finally:
        clients.run("helm", "uninstall", "qm", "--namespace", SPACE)
        names_ = ("queues", "podgroups", "topologies")
        clients.run("kubectl", "delete", *(f"crd/{name}.quartermaster.dev" for name in names_))


# ``verb resource.group/subresource=name``; what is left out is the core group, no subresource, any name.
MAY = """
list nodes; watch pods; create pods/binding; create pods/eviction; patch pods/status; patch persistentvolumeclaims
create events; patch events.events.k8s.io; list poddisruptionbudgets.policy; list resourceclaims.resource.k8s.io
watch queues.quartermaster.dev; patch queues.quartermaster.dev/status; create podgroups.quartermaster.dev
patch podgroups.quartermaster.dev; patch podgroups.quartermaster.dev/status; watch priorityclasses.scheduling.k8s.io
watch customresourcedefinitions.apiextensions.k8s.io; watch jobs.batch; list rayclusters.ray.io
list queues.scheduling.run.ai; list replicasets.apps
patch validatingwebhookconfigurations.admissionregistration.k8s.io=qm-quartermaster
"""
MAY_NOT = """
create pods; delete pods; patch pods; list secrets; get secrets; create nodes; patch nodes; delete nodes
patch queues.quartermaster.dev; delete queues.quartermaster.dev; create serviceaccounts; patch jobs.batch
patch clusterroles.rbac.authorization.k8s.io; create customresourcedefinitions.apiextensions.k8s.io
patch validatingwebhookconfigurations.admissionregistration.k8s.io=other; delete rayclusters.ray.io
"""
MAY_AT_HOME = """
create leases.coordination.k8s.io; update leases.coordination.k8s.io=quartermaster; create secrets
get secrets=qm-quartermaster-webhook-tls; update secrets=qm-quartermaster-webhook-tls
"""
MAY_NOT_AT_HOME = "list secrets; get secrets=other; delete leases.coordination.k8s.io=quartermaster; create pods"


def test_the_controller_may_what_it_has_to_and_nothing_else(clients: Clients) -> None:
    """What the API server itself says of the service account."""
    clients.run("helm", "install", "qm", str(ROOT / CHART), "--namespace", SPACE, "--create-namespace")

    def allowed(asked: str, namespace: str) -> bool:
        verb, what = asked.split()
        what, _, name = what.partition("=")
        what, _, subresource = what.partition("/")
        resource, _, group = what.partition(".")
        attributes = {"verb": verb, "group": group, "resource": resource, "subresource": subresource, "name": name}
        user = f"system:serviceaccount:{SPACE}:qm-quartermaster"
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{SPACE}", "system:authenticated"]
        spec = {"user": user, "groups": groups, "resourceAttributes": {**attributes, "namespace": namespace}}
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        said = clients.run("kubectl", "create", "--validate=false", "-o", "json", "-f", "-", given=json.dumps(body))
        return bool(json.loads(said)["status"]["allowed"])

    def each(text: str) -> list[str]:
        return [asked.strip() for line in text.strip().splitlines() for asked in line.split(";")]

    try:
        deadline = 100
        while not allowed("list nodes", ""):  # the authorizer sees a binding a moment later
            deadline -= 1
            assert deadline
        assert [asked for asked in each(MAY) if not allowed(asked, "")] == []
        assert [asked for asked in each(MAY_NOT) if allowed(asked, "")] == []
        assert [asked for asked in each(MAY_AT_HOME) if not allowed(asked, SPACE)] == []
        assert [asked for asked in each(MAY_NOT_AT_HOME) if allowed(asked, SPACE)] == []
    finally:
        clients.run("helm", "uninstall", "qm", "--namespace", SPACE)
        kept = ("queues", "podgroups", "topologies")
        clients.run("kubectl", "delete", *(f"crd/{name}.quartermaster.dev" for name in kept))
