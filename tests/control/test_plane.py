"""The control plane, the player and the fake kubelet do what later tests build on."""

import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rehearsal.cluster.job_status import decide
from tests.control.access import Refused
from tests.control.component import Component
from tests.control.given import Plane
from tests.control.player import Player
from tests.control.pod_status import Pod
from tests.tools import ROOT

pytestmark = pytest.mark.control

Manifest = dict[str, Any]


def job_of(namespace: str, name: str, **spec: Any) -> Manifest:
    """An Indexed Job in the shape of a stage's, as Pod Security restricted wants it."""
    restricted = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    containers = {
        "load-model": {"image": "any", "securityContext": restricted},
        "engine": {"image": "any", "securityContext": restricted, "restartPolicy": "Always"},
        "main": {"image": "any", "securityContext": restricted},
    }
    load, engine, main = ({"name": name, **fields} for name, fields in containers.items())
    pod = {
        "restartPolicy": "Never",
        "serviceAccountName": "rehearsal-worker",
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "initContainers": [load, engine],
        "containers": [main],
    }
    fatal = {"action": "FailJob", "onExitCodes": {"containerName": "main", "operator": "In", "values": [65]}}
    disrupted = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "completionMode": "Indexed",
            "completions": 1,
            "backoffLimit": 3,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": [disrupted, fatal]},
            "template": {"metadata": {"labels": {"rehearsal.dev/stage": name}}, "spec": pod},
            **spec,
        },
    }


async def create(player: Player, job: Manifest) -> Manifest:
    return await player.api.create(f"/apis/batch/v1/namespaces/{job['metadata']['namespace']}/jobs", job)


async def condition_of(player: Player, namespace: str, name: str, kind: str) -> Manifest:
    """Wait for a condition of a Job."""
    path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    async for _, found in player.api.watch(path):
        for condition in found.get("status", {}).get("conditions", []):
            if found["metadata"]["name"] == name and condition["type"] == kind and condition["status"] == "True":
                return condition
    raise AssertionError("the watch ended")


async def test_played_pods_complete_a_job(player: Player, namespace: str):
    await create(player, job_of(namespace, "elicit", completions=2, parallelism=2))
    for pod in await player.pods_of("elicit", count=2):
        await player.run(pod, "load-model")
        await player.run(pod)
        await player.finish(pod, message=f"sealed by {pod.index}")
    await condition_of(player, namespace, "elicit", "Complete")


async def test_a_script_plays_every_pod(player: Player, namespace: str):
    async def fail_once(pod: Pod) -> None:
        await player.run(pod)
        await player.finish(pod, 0 if seen else 70)
        seen.append(pod.name)

    seen: list[str] = []
    async with player.playing(fail_once):
        await create(player, job_of(namespace, "filter"))
        await condition_of(player, namespace, "filter", "Complete")
    assert len(seen) == 2


async def test_exit_65_of_the_main_container_fails_the_job_by_its_policy(player: Player, namespace: str):
    await create(player, job_of(namespace, "mix"))
    pod = await player.pod_of("mix")
    await player.run(pod)
    await player.finish(pod, 65)
    failed = await condition_of(player, namespace, "mix", "Failed")
    assert failed["reason"] == "PodFailurePolicy"


@pytest.mark.fault(73)
async def test_each_index_has_its_own_retries_as_the_local_job_controller_has_it(player: Player, namespace: str):
    by_index = {"backoffLimit": None, "backoffLimitPerIndex": 1, "maxFailedIndexes": 0}
    job = await create(player, job_of(namespace, "elicit", completions=2, parallelism=2, **by_index))
    first = await player.pods_of("elicit", count=2)
    for pod in first:
        await player.run(pod)
        await player.finish(pod, 75)
    second = await player.pods_of("elicit", count=2)
    assert {pod.index for pod in second} == {0, 1}
    await player.run(second[1])
    await player.finish(second[1], 75)
    failed = await condition_of(player, namespace, "elicit", "Failed")
    assert (failed["reason"], failed["message"]) == local_end(job, [*first, second[1]])


def local_end(job: Manifest, pods: list[Pod]) -> tuple[str, str]:
    """What the local Job controller says of a Job whose pods have all ended with code 75."""
    status = {"phase": "Failed", "containerStatuses": [{"name": "main", "state": {"terminated": {"exitCode": 75}}}]}
    dead = [{**pod.manifest, "status": status} for pod in pods]
    (condition,) = decide({**job, "status": {}}, dead, datetime.now(UTC), 10).status["conditions"]
    return condition["reason"], condition["message"]


async def test_a_disruption_costs_no_retry(player: Player, namespace: str):
    await create(player, job_of(namespace, "train", backoffLimit=0))
    pod = await player.pod_of("train")
    await player.run(pod)
    await player.disrupt(pod)
    await player.gone(pod)
    await player.succeed(await player.pod_of("train"))
    await condition_of(player, namespace, "train", "Complete")


async def test_the_api_server_hands_out_the_log_of_a_container(player: Player, namespace: str):
    await create(player, job_of(namespace, "judge"))
    pod = await player.pod_of("judge")
    await player.bind(pod)
    with pytest.raises(Refused, match="waiting to start"):
        await player.api.text(f"{pod.path}/log", container="main")
    await player.run(pod)
    player.log(pod, "one\ntwo\nthree\n")
    assert await player.api.text(f"{pod.path}/log", container="main", tailLines="2") == "two\nthree\n"


async def test_a_pod_says_why_it_waits(player: Player, namespace: str):
    await create(player, job_of(namespace, "respond"))
    pod = await player.pod_of("respond")
    await player.unschedulable(pod, "0/3 nodes are available")
    waiting = (await player.api.get(pod.path))["status"]["conditions"][0]
    assert (waiting["type"], waiting["reason"], waiting["message"]) == ("PodScheduled", "Unschedulable", "0/3 nodes are available")
    await player.wait_on(pod, "ErrImagePull", "no such image", "engine")
    engine = (await player.api.get(pod.path))["status"]["initContainerStatuses"][1]
    assert engine["state"]["waiting"] == {"reason": "ErrImagePull", "message": "no such image"}


async def test_what_a_deleted_owner_owns_is_collected(player: Player, namespace: str):
    job = await create(player, job_of(namespace, "select"))
    pod = await player.pod_of("select")
    await player.run(pod)
    await player.api.delete(f"/apis/batch/v1/namespaces/{namespace}/jobs/select", propagationPolicy="Background")
    await player.gone(pod)
    assert job["metadata"]["uid"]


async def test_children_of_a_new_kind_are_collected(plane: Plane, player: Player, namespace: str):
    plane.apply([_crd()])
    path = f"/apis/tests.rehearsal.dev/v1/namespaces/{namespace}/owners"
    kind = {"apiVersion": "tests.rehearsal.dev/v1", "kind": "Owner"}
    owner = await player.api.create(path, kind | {"metadata": {"name": "owner"}})
    job = job_of(namespace, "report")
    job["metadata"]["ownerReferences"] = [kind | {"name": "owner", "uid": owner["metadata"]["uid"]}]
    await create(player, job)
    pod = await player.pod_of("report")
    await player.api.delete(f"{path}/owner")
    await player.gone(pod)


def test_pod_security_is_enforced(plane: Plane, namespace: str):
    pod = {"metadata": {"name": "root"}, "spec": {"containers": [{"name": "main", "image": "any"}]}}
    with pytest.raises(Refused, match="violates PodSecurity"):
        plane.request("POST", f"/api/v1/namespaces/{namespace}/pods", pod)


def test_a_service_account_has_no_rights_until_it_is_given_some(plane: Plane, namespace: str):
    kubeconfig = plane.kubeconfig_for(plane.service_account_token(namespace, "rehearsal-worker"), f"{namespace}-worker")
    with pytest.raises(AssertionError, match=f"system:serviceaccount:{namespace}:rehearsal-worker.*cannot list"):
        plane.kubectl("get", "pods", "-n", namespace, f"--kubeconfig={kubeconfig}")


async def test_an_api_server_that_comes_back_has_kept_everything_and_its_pods_are_played(
    plane: Plane, player: Player, namespace: str
):
    path = f"/api/v1/namespaces/{namespace}"
    before = plane.request("GET", path)
    plane.stop_api_server()
    with pytest.raises(OSError, match="refused"):
        plane.request("GET", path)
    plane.start_api_server()
    assert plane.request("GET", path) == before
    await create(player, job_of(namespace, "evaluate"))
    await player.succeed(await player.pod_of("evaluate"))
    await condition_of(player, namespace, "evaluate", "Complete")


def test_a_paused_api_server_hangs(plane: Plane, namespace: str):
    path = f"/api/v1/namespaces/{namespace}"
    plane.pause_api_server()
    with pytest.raises(OSError, match="timed out"):
        plane.request("GET", path, timeout=0.5)
    plane.resume_api_server()
    assert plane.request("GET", path)["metadata"]["name"] == namespace


def test_a_paused_server_hangs_with_all_its_threads_before_anything_is_asked_of_it(tmp_path: Path):
    busy = "import threading\ndef spin():\n    while True: pass\nfor _ in range(20): threading.Thread(target=spin).start()\nspin()"
    server = Component([sys.executable, "-c", busy], tmp_path / "server.log")
    server.wait_until(lambda: len(server.threads()) == 21, 60)
    for _ in range(20):
        server.pause()
        assert set(server.threads()) == {"T"}
        server.resume()
    server.kill()


def test_a_server_that_cannot_start_says_why(tmp_path: Path):
    server = Component(["sh", "-c", "echo no such flag; exit 1"], tmp_path / "server.log")
    with pytest.raises(RuntimeError, match="server ended:\nno such flag"):
        server.wait_until(lambda: False, 60)


def test_a_server_ends_with_the_test_process_however_that_ends(tmp_path: Path):
    program = f"""
import os, pathlib
from tests.control.component import Component
Component(["sh", "-c", "echo started; exec sleep 600"], pathlib.Path("{tmp_path}/server.log"), [pathlib.Path("{tmp_path}")])
while "started" not in pathlib.Path("{tmp_path}/server.log").read_text(): pass
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, env={"PYTHONPATH": "operator"}, timeout=120, check=False)
    deadline = time.monotonic() + 60
    while tmp_path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _crd() -> Manifest:
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": anything}}
    names = {"kind": "Owner", "plural": "owners"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "owners.tests.rehearsal.dev"},
        "spec": {"group": "tests.rehearsal.dev", "scope": "Namespaced", "names": names, "versions": [version]},
    }
