"""Manifests for tests of a cluster, and the patience to wait for what they lead to."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from rehearsal.cluster.job_status import condition_of
from rehearsal.cluster.port import Cluster

T = TypeVar("T")
Manifest = dict[str, Any]

NAMESPACE = "research"
OURS = {"app.kubernetes.io/managed-by": "rehearsal"}
FATAL = {"action": "FailJob", "onExitCodes": {"containerName": "main", "operator": "In", "values": [64, 65, 66]}}
DISRUPTED = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}


def run_of(name: str, spec: Manifest | None = None) -> Manifest:
    return {
        "apiVersion": "rehearsal.dev/v1alpha1",
        "kind": "ReconstructionRun",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": spec or {"baseModel": {"uri": "store://base"}, "domain": {"uri": "store://domain"}, "seed": 0},
    }


def shell(script: str, name: str = "main", **fields: object) -> Manifest:
    return {"name": name, "image": "any", "command": ["sh", "-c", script], **fields}


def python(script: str, name: str = "main", **fields: object) -> Manifest:
    return {"name": name, "image": "any", "command": ["python", "-S", "-c", script], **fields}


def sidecar(script: str, failures: int = 30) -> Manifest:
    """A Python sidecar that is up when it answers GET /health on its port."""
    probe = {"httpGet": {"path": "/health", "port": 8000, "host": "127.0.0.1"}, "periodSeconds": 1, "failureThreshold": failures}
    ports = [{"name": "engine", "containerPort": 8000}]
    env = [{"name": "ENGINE_PORT", "value": "8000"}]
    return python(script, "engine", restartPolicy="Always", startupProbe=probe, ports=ports, env=env)


def job_of(
    main: Manifest,
    name: str = "job",
    init: tuple[Manifest, ...] = (),
    owner: Manifest | None = None,
    pod: Manifest | None = None,
    **spec: object,
) -> Manifest:
    metadata: Manifest = {"name": name, "namespace": NAMESPACE, "labels": OURS | {"rehearsal.dev/stage": name}}
    if owner:
        metadata["ownerReferences"] = [
            {"apiVersion": owner["apiVersion"], "kind": owner["kind"]} | {key: owner["metadata"][key] for key in ("name", "uid")}
        ]
    pod_spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 5, "initContainers": list(init), "containers": [main]}
    policy = {"podFailurePolicy": {"rules": [DISRUPTED, FATAL]}}
    described = {"labels": metadata["labels"], "annotations": {"rehearsal.dev/task": "the task"}}
    template = {"metadata": described, "spec": pod_spec | (pod or {})}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": policy | spec | {"template": template}}


def too_big(**fields: object) -> Manifest:
    """A main container for which no machine of a test is big enough."""
    return shell("true", resources={"requests": {"cpu": "4000"}}, **fields)


async def until(question: Callable[[], Awaitable[T | None]], seconds: float = 60) -> T:
    """Ask until the answer is true."""
    deadline = time.monotonic() + seconds
    while not (answer := await question()):
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.02)
    return answer


async def finished(cluster: Cluster, name: str = "job", seconds: float = 60) -> Manifest:
    """Wait for a Job's end and return it."""

    async def ended() -> Manifest | None:
        job = await cluster.get("Job", NAMESPACE, name)
        assert job, "the Job is gone"
        return job if condition_of(job.get("status", {}), "Complete", "Failed") else None

    return await until(ended, seconds)


def outcome(job: Manifest) -> tuple[str, str]:
    """How a Job ended: condition and reason."""
    (condition,) = job["status"]["conditions"]
    return condition["type"], condition["reason"]


def terminated(pod: Manifest, kind: str = "containerStatuses") -> Manifest:
    """How a pod's first container of that kind ended."""
    ended: Manifest = pod["status"][kind][0]["state"]["terminated"]
    return ended
