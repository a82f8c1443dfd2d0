"""A Job as a decision sees it: where it stands, what its pods last said, how it ended."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import ValidationError

from rehearsal.api.messages import PROGRESS_PREFIX, ExitCode, Progress, Termination
from rehearsal.cluster.port import Cluster, NotFound, Unavailable
from rehearsal.controller.waiting import why_waiting
from rehearsal.manifests.jobs import LABEL
from rehearsal.manifests.pod import ENGINE, MAIN

LOG_LINES = 50
MOST_STARTS = 3
"""Deaths of an engine before its first answer after which another start is not waited for: Kubernetes would restart it for ever."""


class JobState(StrEnum):
    """Where a Job stands."""

    WAITING = "Waiting"
    RUNNING = "Running"
    COMPLETE = "Complete"
    FAILED = "Failed"

    @property
    def live(self) -> bool:
        """It may still do something."""
        return self in (JobState.WAITING, JobState.RUNNING)


@dataclass(frozen=True)
class JobView:
    """One Job as read. `waits` is the scheduler's or kubelet's own line; `exit_code` that of the last dead main container.

    `hopeless`: the cluster would go on trying, and it counts as failed. `disrupted`: pods that were drained or preempted.
    `deadline`: seconds it may live from `activated_at` on, when it was let run. `started_at`: when a node took its first pod, and
    devices were held.
    """

    name: str
    uid: str
    run: str
    run_uid: str
    stage: str
    fingerprint: str
    attempt: int
    execution: str
    devices: int
    state: JobState
    created_at: str = ""
    deleting: bool = False
    hopeless: bool = False
    why: str = ""
    waits: str = ""
    exit_code: int | None = None
    termination: Termination | None = None
    progress: Progress | None = None
    disrupted: int = 0
    deadline: int | None = None
    activated_at: str | None = None
    started_at: str | None = None
    finished_at: str | None = None

    @property
    def seal(self) -> str | None:
        """The digest of the seal that it made or found, by its last word."""
        return self.termination.manifest_digest if self.termination else None


def is_ours(job: Mapping[str, Any]) -> bool:
    """Tell whether a Job carries all that the operator writes on one; a copy made by hand may carry the labels alone."""
    annotations = job["metadata"].get("annotations") or {}
    return all(f"{LABEL}/{name}" in annotations for name in ("fingerprint", "attempt", "execution", "devices"))


async def view(cluster: Cluster, job: Mapping[str, Any], now: datetime, figures: bool, words: bool = True) -> JobView:
    """Read what there is to know of a Job. `figures`: read its progress from a log; `words`: ask why it waits."""
    metadata, status = job["metadata"], job.get("status") or {}
    annotations, labels = metadata["annotations"], metadata["labels"]
    conditions = {c["type"]: c for c in status.get("conditions") or [] if c["status"] == "True"}
    pods = await cluster.pods(metadata["namespace"], metadata["uid"])
    state = _state(conditions, pods)
    dead = _last_dead(pods)
    crashes = _crashes(pods) if state.live else ""
    return JobView(
        name=metadata["name"],
        uid=metadata["uid"],
        run=next((owner["name"] for owner in metadata.get("ownerReferences") or []), ""),
        run_uid=labels[f"{LABEL}/run-uid"],
        stage=labels[f"{LABEL}/stage"],
        fingerprint=annotations[f"{LABEL}/fingerprint"],
        attempt=int(annotations[f"{LABEL}/attempt"]),
        execution=annotations[f"{LABEL}/execution"],
        devices=int(annotations[f"{LABEL}/devices"]),
        state=JobState.FAILED if crashes else state,
        created_at=metadata.get("creationTimestamp", ""),
        deleting="deletionTimestamp" in metadata,
        hopeless=bool(crashes),
        why=crashes or (conditions["Failed"].get("message", "") if "Failed" in conditions else ""),
        waits=await why_waiting(cluster, job, pods, now) if words and state.live else "",
        exit_code=ExitCode.DEVICE if crashes else dead.get("exitCode") if dead else None,
        termination=_termination(pods, state),
        progress=await _progress(cluster, metadata["namespace"], pods) if figures and state is JobState.RUNNING else None,
        disrupted=sum(_disrupted(pod) for pod in pods),
        deadline=(job.get("spec") or {}).get("activeDeadlineSeconds"),
        activated_at=status.get("startTime"),
        started_at=_placed(pods) or (None if state.live else status.get("startTime")),
        finished_at=status.get("completionTime") or _transition(conditions),
    )


def _state(conditions: Mapping[str, object], pods: Sequence[Mapping[str, Any]]) -> JobState:
    """Where a Job stands. One that ended has no pod at work: where one is still seen, its end and last word are yet to come."""
    ended = bool(conditions.keys() & {"Complete", "Failed"})
    if ended and not any(_at_work(pod) for pod in pods):
        return JobState.COMPLETE if "Complete" in conditions else JobState.FAILED
    return JobState.RUNNING if ended or any(_started(pod) for pod in pods) else JobState.WAITING


def _at_work(pod: Mapping[str, Any]) -> bool:
    return pod["status"].get("phase") in ("Pending", "Running") and "deletionTimestamp" not in pod["metadata"]


def _started(pod: Mapping[str, Any]) -> bool:
    """Whether any container of a pod ever ran."""
    states = [c.get("state") or {} for c in pod["status"].get("initContainerStatuses") or []]
    return pod["status"].get("phase") != "Pending" or any("running" in state or "terminated" in state for state in states)


def _placed(pods: Sequence[Mapping[str, Any]]) -> str | None:
    """When a node took the first pod: from then on devices are held, and not before."""
    return min((pod["status"]["startTime"] for pod in pods if "startTime" in pod["status"]), default=None)


def _disrupted(pod: Mapping[str, Any]) -> bool:
    return any(c["type"] == "DisruptionTarget" and c["status"] == "True" for c in pod["status"].get("conditions") or [])


def _transition(conditions: Mapping[str, Mapping[str, str]]) -> str | None:
    return conditions["Failed"].get("lastTransitionTime") if "Failed" in conditions else None


def _crashes(pods: Sequence[Mapping[str, Any]]) -> str:
    """What an engine said last that dies at every start, or nothing. Where the client runs, it is the client's to judge."""
    for pod in pods:
        engine = next((c for c in pod["status"].get("initContainerStatuses") or [] if c["name"] == ENGINE), None)
        if engine and pod["status"].get("phase") == "Pending" and engine.get("restartCount", 0) >= MOST_STARTS:
            ended = (engine.get("lastState") or {}).get("terminated") or (engine.get("state") or {}).get("terminated") or {}
            lines = [line for line in str(ended.get("message") or "").splitlines() if line.strip()]
            last = f": {lines[-1].strip()[:300]}" if lines else ""
            return f"the engine died {engine['restartCount']} times at start, exit code {ended.get('exitCode')}{last}"
    return ""


def _dead_containers(pods: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Terminated main containers, and init containers that failed, the latest last."""
    found = []
    for pod in pods:
        for kind in ("initContainerStatuses", "containerStatuses"):
            for container in pod["status"].get(kind) or []:
                ended = (container.get("state") or {}).get("terminated")
                if ended and (container["name"] == MAIN or ended.get("exitCode")):
                    found.append(ended)
    return sorted(found, key=lambda ended: ended.get("finishedAt") or "")


def _last_dead(pods: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    failed = [ended for ended in _dead_containers(pods) if ended.get("exitCode") not in (0, ExitCode.TERMINATED)]
    return failed[-1] if failed else None


def _termination(pods: Sequence[Mapping[str, Any]], state: JobState) -> Termination | None:
    """The word that matters: of a complete Job a successful pod's, otherwise the last dead container's."""
    for ended in reversed(_dead_containers(pods)):
        if state is JobState.COMPLETE and ended.get("exitCode") != 0:
            continue
        try:
            return Termination.model_validate_json(ended.get("message") or "")
        except ValidationError:
            continue
    return None


async def _progress(cluster: Cluster, namespace: str, pods: Sequence[Mapping[str, Any]]) -> Progress | None:
    """The last progress line of one running pod; its figures are those of the whole stage."""
    running = next((pod for pod in pods if pod["status"].get("phase") == "Running"), None)
    if running is None:
        return None
    try:
        tail = await cluster.log_tail(namespace, running["metadata"]["name"], MAIN, LOG_LINES)
    except (NotFound, Unavailable):
        return None  # figures only: the pod ended in between, or its node does not answer
    for line in reversed(tail.splitlines()):
        if line.startswith(PROGRESS_PREFIX):
            try:
                return Progress.model_validate(json.loads(line)["progress"])
            except (ValueError, KeyError):
                return None
    return None
