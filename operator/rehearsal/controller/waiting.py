"""Why no pod of a Job has started, in the words of whoever holds it up: scheduler, kubelet, Kueue, quota, admission."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rehearsal.cluster.port import Cluster

SETTLES_SECONDS = 10
"""A Job this young may simply have no pod yet: nobody is asked why."""


async def why_waiting(cluster: Cluster, job: Mapping[str, Any], pods: Sequence[Mapping[str, Any]], now: datetime) -> str:
    """Return one line, or nothing when there is nothing to say."""
    metadata = job["metadata"]
    if pods:
        # A pod that has no node holds up those that do, and one that its kubelet cannot start those that are starting.
        statuses = [pod["status"] for pod in pods]
        words = (name(status) for name in (_of_scheduler, _of_kubelet, _of_start) for status in statuses)
        return next(filter(None, words), "")
    if (job.get("spec") or {}).get("suspend"):
        return await _of_queue(cluster, metadata["namespace"], metadata["uid"])
    if _age(metadata, now) < SETTLES_SECONDS:
        return ""
    failed = [
        event for event in await cluster.events(metadata["namespace"], metadata["uid"]) if event.get("reason") == "FailedCreate"
    ]
    return str(failed[-1].get("message", "")) if failed else ""


def _of_scheduler(status: Mapping[str, Any]) -> str:
    unplaced = (c for c in status.get("conditions") or [] if c["type"] == "PodScheduled" and c["status"] == "False")
    return next((str(condition.get("message") or condition.get("reason") or "") for condition in unplaced), "")


def _of_kubelet(status: Mapping[str, Any]) -> str:
    waits = (state["waiting"] for _, state in containers(status) if (state.get("waiting") or {}).get("message"))
    return next((f"{waiting.get('reason')}: {waiting['message']}" for waiting in waits), "")


def _of_start(status: Mapping[str, Any]) -> str:
    """The init container that is at work."""
    begun = (c["name"] for c, state in containers(status) if "running" in state and not c.get("started"))
    return next((f"{name} is starting" for name in begun), "") if status.get("phase") == "Pending" else ""


def containers(status: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Return the containers of a pod, init containers first, each with its state."""
    found = (status.get("initContainerStatuses") or []) + (status.get("containerStatuses") or [])
    return [(container, container.get("state") or {}) for container in found]


async def _of_queue(cluster: Cluster, namespace: str, uid: str) -> str:
    """Kueue holds a Job back by suspending it, and says why in the conditions of the Job's Workload."""
    for workload in await cluster.list("Workload", namespace, {"kueue.x-k8s.io/job-uid": uid}):
        conditions = {c["type"]: c for c in (workload.get("status") or {}).get("conditions") or []}
        for type_, status in (("Evicted", "True"), ("QuotaReserved", "False"), ("Admitted", "False")):
            if (found := conditions.get(type_)) and found["status"] == status and found.get("message"):
                return f"Kueue: {found['message']}"
        return "Kueue: the workload is not admitted yet"
    return "the Job is suspended and has no Kueue Workload: does its LocalQueue exist, and does Kueue run?"


def _age(metadata: Mapping[str, Any], now: datetime) -> float:
    created = datetime.fromisoformat(metadata["creationTimestamp"])
    return (now - created).total_seconds()
