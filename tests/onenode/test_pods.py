"""Pods run on the one-node cluster as on any: names, Services, logs, limits, evictions; and they outlive kubelet and API server."""

from typing import Any

import pytest

from tests.control.access import Access, Manifest
from tests.onenode import cluster
from tests.onenode.conftest import PROBE
from tests.onenode.layout import ADDRESS, NODE

pytestmark = pytest.mark.cluster

RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def probe(*arguments: str, **fields: Any) -> Manifest:
    """A container that runs the probe."""
    return {"name": "main", "image": PROBE, "args": list(arguments), "securityContext": RESTRICTED, **fields}


def pod(name: str, *containers: Manifest, **spec: Any) -> Manifest:
    whole = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": list(containers), **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": whole}


def service(name: str, **spec: Any) -> Manifest:
    whole = {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}], **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": whole}


def create(onenode: Access, namespace: str, *manifests: Manifest) -> None:
    onenode.apply([{**each, "metadata": {**each["metadata"], "namespace": namespace}} for each in manifests])


def wait(onenode: Access, namespace: str, what: str, condition: str) -> None:
    onenode.kubectl("wait", f"--namespace={namespace}", what, f"--for={condition}", "--timeout=240s")


def output_of(onenode: Access, namespace: str, name: str) -> str:
    wait(onenode, namespace, f"pod/{name}", "jsonpath={.status.phase}=Succeeded")
    return onenode.kubectl("logs", f"--namespace={namespace}", name, "--container=main", "--tail=1").strip()


def main_container(onenode: Access, namespace: str, name: str) -> Manifest:
    return dict(onenode.request("GET", f"/api/v1/namespaces/{namespace}/pods/{name}")["status"]["containerStatuses"][0])


def test_the_pods_of_an_indexed_job_find_each_other_by_name(onenode: Access, namespace: str):
    server = {**probe("serve", "8080"), "name": "server", "restartPolicy": "Always"}
    whole = pod("talk", probe("ask", "http://talk-0.talk:8080"), initContainers=[server], subdomain="talk")
    template = {"metadata": {"labels": {"app": "talk"}}, "spec": whole["spec"]}
    indexed = {"completionMode": "Indexed", "completions": 2, "parallelism": 2, "backoffLimit": 0}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "talk"}, "spec": {**indexed, "template": template}}
    headless = service("talk", clusterIP="None", publishNotReadyAddresses=True)
    create(onenode, namespace, headless, job)
    wait(onenode, namespace, "job/talk", "condition=Complete")
    logs = onenode.kubectl("logs", f"--namespace={namespace}", "--selector=app=talk", "--container=main", "--tail=1")
    assert logs.split() == ["talk-0", "talk-0"]


def test_a_service_is_reached_by_its_name(onenode: Access, namespace: str):
    client = pod("client", probe("ask", f"http://web.{namespace}.svc.cluster.local"))
    create(onenode, namespace, service("web"), pod("web", probe("serve", "8080")), client)
    assert output_of(onenode, namespace, "client") == "web"


def test_a_pod_reaches_the_node(onenode: Access, namespace: str):
    create(onenode, namespace, pod("client", probe("ask", f"http://{ADDRESS}:8181/ready")))
    assert output_of(onenode, namespace, "client") == "OK"


def test_a_pod_leaves_a_termination_message_and_a_log(onenode: Access, namespace: str):
    create(onenode, namespace, pod("last", probe("say", "farewell")))
    assert output_of(onenode, namespace, "last") == "farewell"
    assert main_container(onenode, namespace, "last")["state"]["terminated"]["message"] == "farewell"


def test_a_command_is_executed_in_a_running_pod(onenode: Access, namespace: str):
    create(onenode, namespace, pod("web", probe("serve", "8080")))
    wait(onenode, namespace, "pod/web", "condition=Ready")
    assert onenode.kubectl("exec", f"--namespace={namespace}", "web", "--", "/probe", "say", "here").strip() == "here"


def test_a_container_is_killed_at_its_memory_limit(onenode: Access, namespace: str):
    create(onenode, namespace, pod("greedy", probe("eat", resources={"limits": {"memory": "48Mi"}})))
    wait(onenode, namespace, "pod/greedy", "jsonpath={.status.phase}=Failed")
    ended = main_container(onenode, namespace, "greedy")["state"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)


def test_an_evicted_pod_goes(onenode: Access, namespace: str):
    create(onenode, namespace, pod("web", probe("serve", "8080")))
    wait(onenode, namespace, "pod/web", "condition=Ready")
    path = f"/api/v1/namespaces/{namespace}/pods/web/eviction"
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "web", "namespace": namespace}}
    onenode.request("POST", path, eviction)
    wait(onenode, namespace, "pod/web", "delete")


def test_an_image_that_is_not_on_the_node_cannot_be_pulled(onenode: Access, namespace: str):
    create(onenode, namespace, pod("web", {**probe("serve", "8080"), "image": "registry.invalid/none:1"}))
    wait(onenode, namespace, "pod/web", "jsonpath={.status.containerStatuses[0].state.waiting.reason}=ErrImagePull")


def test_a_pod_goes_on_without_kubelet_and_api_server(onenode: Access, namespace: str):
    create(onenode, namespace, pod("web", probe("serve", "8080")))
    wait(onenode, namespace, "pod/web", "condition=Ready")
    before = main_container(onenode, namespace, "web")
    for server in ("kubelet", "apiserver"):
        cluster.stop(server)
        assert not (server == "apiserver" and onenode.is_ready())
        cluster.start(server)
    wait(onenode, namespace, f"node/{NODE}", "condition=Ready")
    create(onenode, namespace, pod("later", probe("say", "still here")))
    assert output_of(onenode, namespace, "later") == "still here"
    assert main_container(onenode, namespace, "web") == before
