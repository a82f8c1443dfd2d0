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
        # A pod that has no node holds up those that do: its words first.
        statuses = [pod["status"] for pod in pods]
        return next(filter(None, (*map(_of_scheduler, statuses), *map(_of_containers, statuses))), "")
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


def _of_containers(status: Mapping[str, Any]) -> str:
    """What a pod's containers wait for: the kubelet's message, or the init container that is at work."""
    for container in (status.get("initContainerStatuses") or []) + (status.get("containerStatuses") or []):
        state = container.get("state") or {}
        if (state.get("waiting") or {}).get("message"):
            return f"{state['waiting'].get('reason')}: {state['waiting']['message']}"
        if status.get("phase") == "Pending" and "running" in state and not container.get("started"):
            return f"{container['name']} is starting"
    return ""


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
