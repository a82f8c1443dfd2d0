"""Why no pod of a Job has started, in the words of whoever holds it up: scheduler, kubelet, Kueue, quota, admission."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rehearsal.cluster.port import Cluster, ClusterError, Unavailable
from rehearsal.manifests.jobs import QUEUE_LABEL

SETTLES_SECONDS = 10
"""A Job this young may simply have no pod yet: nobody is asked why."""


Workload = Mapping[str, Any]
"""Kueue's own object for a Job that names a queue."""
UNREAD = "unread"
"""The only key of a Workload that could not be read, as while Kueue is away and nobody converts it: why."""


async def workload_of(cluster: Cluster, job: Mapping[str, Any]) -> Workload | None:
    """Return the Workload of a Job that is suspended; without Kueue there is none. No other Job is asked about.

    One that cannot be read stops no look: what it would say are words, and its Job keeps its place.
    """
    if not _suspended(job):
        return None
    metadata = job["metadata"]
    try:
        found = await cluster.list("Workload", metadata["namespace"], {"kueue.x-k8s.io/job-uid": metadata["uid"]})
    except ClusterError as error:
        return {UNREAD: _unknown(error)}
    return next(iter(found), None)


def queue_of(job: Mapping[str, Any], workload: Workload | None) -> str:
    """Return the LocalQueue in which a Job waits to be admitted, or nothing: Kueue does not know it, or was told to leave it out."""
    if workload is None or (workload.get("spec") or {}).get("active") is False:
        return ""
    return str((job["metadata"].get("labels") or {}).get(QUEUE_LABEL, ""))


async def why_waiting(
    cluster: Cluster, job: Mapping[str, Any], pods: Sequence[Mapping[str, Any]], workload: Workload | None, now: datetime
) -> str:
    """Return one line, or nothing when there is nothing to say. A server that does not tell is quoted."""
    metadata = job["metadata"]
    if pods:
        # A pod that has no node holds up those that do, and one that its kubelet cannot start those that are starting.
        statuses = [pod["status"] for pod in pods]
        words = (name(status) for name in (_of_scheduler, _of_kubelet, _of_start) for status in statuses)
        return next(filter(None, words), "")
    if (job.get("spec") or {}).get("suspend"):
        return _of_queue(workload)
    if _age(metadata, now) < SETTLES_SECONDS:
        return ""
    try:
        events = await cluster.events(metadata["namespace"], metadata["uid"])
    except ClusterError as error:
        return _unknown(error)
    failed = [event for event in events if event.get("reason") == "FailedCreate"]
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


def _of_queue(workload: Workload | None) -> str:
    """Kueue holds a Job back by suspending it, and says why in the conditions of the Job's Workload."""
    if workload is None:
        return "the Job is suspended and has no Kueue Workload: does its LocalQueue exist, and does Kueue run?"
    if UNREAD in workload:
        return str(workload[UNREAD])
    conditions = {c["type"]: c for c in (workload.get("status") or {}).get("conditions") or []}
    for type_, status in (("Evicted", "True"), ("QuotaReserved", "False"), ("Admitted", "False")):
        if (found := conditions.get(type_)) and found["status"] == status and found.get("message"):
            return f"Kueue: {found['message']}"
    return "Kueue: the workload is not admitted yet"


def _unknown(error: ClusterError) -> str:
    """What is said where the server does not say why. One that asks to be left alone is left alone."""
    if isinstance(error, Unavailable) and error.retry_after is not None:
        raise error
    return f"it is not known why: {error}"


def _suspended(job: Mapping[str, Any]) -> bool:
    """Whether a Job is held back; one that was let go a moment ago is too, until the Job controller has taken it up."""
    conditions = (job.get("status") or {}).get("conditions") or []
    held = any(c["type"] == "Suspended" and c["status"] == "True" for c in conditions)
    return held or bool((job.get("spec") or {}).get("suspend"))


def _age(metadata: Mapping[str, Any], now: datetime) -> float:
    created = datetime.fromisoformat(metadata["creationTimestamp"])
    return (now - created).total_seconds()
