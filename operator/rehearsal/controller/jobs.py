"""A Job as a decision sees it: where it stands, what its pods last said, how it ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from rehearsal.api.messages import Progress, Termination
from rehearsal.api.status import Disruption
from rehearsal.cluster.port import Cluster, NotFound, Unavailable
from rehearsal.cluster.stamps import stamp
from rehearsal.controller.ends import (
    at_work,
    cause,
    disrupted,
    evicted,
    index_of,
    last_disruption,
    last_word,
    refusal,
    taken_away,
    word,
)
from rehearsal.controller.hopeless import hopeless
from rehearsal.controller.life import lacks, stuck, where, working_since
from rehearsal.controller.progress_lines import LOG_LINES, last_progress
from rehearsal.controller.waiting import containers, queue_of, why_waiting, workload_of
from rehearsal.controller.why import Why
from rehearsal.manifests.jobs import LABEL
from rehearsal.manifests.pod import DISRUPTED, MAIN
from rehearsal.pipeline.stage import Kind

ANNOTATIONS = ("fingerprint", "attempt", "execution", "supplies", "devices")


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
    """One Job as read. `waits` is the scheduler's or kubelet's own line; `exit_code` and `termination` tell why it failed.

    `whole`: its pods begin and fail together, and none is replaced. `ended_by`: the reason that Kubernetes gives for its failure.
    `hopeless`: the cluster would go on trying, and it counts as failed. `lacks`: a container waits for an image or a Secret.
    `gone`: no pod of it is left. `disrupted`: pods that were drained or preempted. `evicted`: pods whose nodes ran out of something,
    which counts as a failure. `deadline`: seconds it may live from `activated_at` on, when it was let run. `started_at`: when a node
    took its first pod, and devices were held. `between`: pods of it have ended, those that replace them have yet to start, and none
    is at work. `queue`: the LocalQueue in which it waits for Kueue to admit it.
    `stuck`: why nothing comes of it until somebody acts. `at`, `working_since`: its pods at work, and since when all of them are.
    `progress_at`: when its figures were read.
    """

    name: str
    uid: str
    run: str
    run_uid: str
    stage: str
    fingerprint: str
    attempt: int
    execution: str
    supplies: str
    devices: int
    state: JobState
    store: str = ""
    endpoint: str = ""
    created_at: str = ""
    deleting: bool = False
    queue: str = ""
    lacks: bool = False
    gone: bool = False
    between: bool = False
    hopeless: bool = False
    whole: bool = False
    ended_by: str = ""
    why: str = ""
    waits: str = ""
    exit_code: int | None = None
    termination: Termination | None = None
    progress: Progress | None = None
    progress_at: str | None = None
    stuck: Why | None = None
    at: str = ""
    working_since: str | None = None
    disrupted: int = 0
    evicted: int = 0
    last_disruption: Disruption | None = None
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
    return all(f"{LABEL}/{name}" in annotations for name in ANNOTATIONS)


async def view(cluster: Cluster, job: Mapping[str, Any], now: datetime, figures: bool, words: bool = True) -> JobView:
    """Read what there is to know of a Job. `figures`: read its progress from a log; `words`: ask why it waits."""
    metadata, status = job["metadata"], job.get("status") or {}
    conditions = {c["type"]: c for c in status.get("conditions") or [] if c["status"] == "True"}
    pods = await cluster.pods(metadata["namespace"], metadata["uid"])
    spec, failed = job.get("spec") or {}, conditions.get("Failed") or {}
    completions = spec.get("completions", 1)
    whole = metadata["labels"].get(f"{LABEL}/kind") == Kind.TRAIN and completions > 1
    state = _state(conditions, pods, completions if whole else 1)
    dead = cause(pods, whole)
    given_up = hopeless(pods, spec) if state.live else None
    evictions = sum(map(evicted, pods))
    workload = await workload_of(cluster, job)
    progress = await _progress(cluster, metadata["namespace"], pods) if figures and state is JobState.RUNNING else None
    return JobView(
        **_identity(job),
        state=JobState.FAILED if given_up else state,
        queue=queue_of(job, workload),
        lacks=any(map(lacks, pods)),
        gone=not pods,
        between=state is JobState.RUNNING and not _ending(conditions) and _between(pods),
        hopeless=given_up is not None,
        whole=whole,
        ended_by=failed.get("reason", ""),
        why=(given_up.words if given_up else "") or ("" if dead else refusal(pods)) or failed.get("message", ""),
        waits=(await why_waiting(cluster, job, pods, workload, now) or taken_away(pods)) if words and state.live else "",
        exit_code=given_up.exit_code if given_up else dead.get("exitCode") if dead else None,
        termination=_word(pods, state, dead if whole else None),
        progress=progress,
        progress_at=stamp(now) if progress else None,
        stuck=stuck(pods, now) if state.live else None,
        at=_named(_working(pods)),
        working_since=working_since(pods),
        disrupted=max(sum(map(disrupted, pods)), not evictions and DISRUPTED in failed.get("message", "")),
        evicted=evictions,
        last_disruption=last_disruption(pods),
        deadline=spec.get("activeDeadlineSeconds"),
        activated_at=status.get("startTime"),
        started_at=_placed(pods) or (None if state.live else status.get("startTime")),
        finished_at=status.get("completionTime") or failed.get("lastTransitionTime"),
    )


def _identity(job: Mapping[str, Any]) -> dict[str, Any]:
    """What a Job is, by what the operator wrote on it."""
    metadata = job["metadata"]
    annotations, labels = metadata["annotations"], metadata["labels"]
    return {
        "name": metadata["name"],
        "uid": metadata["uid"],
        "run": next((owner["name"] for owner in metadata.get("ownerReferences") or []), ""),
        "run_uid": labels[f"{LABEL}/run-uid"],
        "stage": labels[f"{LABEL}/stage"],
        "fingerprint": annotations[f"{LABEL}/fingerprint"],
        "attempt": int(annotations[f"{LABEL}/attempt"]),
        "execution": annotations[f"{LABEL}/execution"],
        "supplies": annotations[f"{LABEL}/supplies"],
        "devices": int(annotations[f"{LABEL}/devices"]),
        "store": labels.get(f"{LABEL}/store", ""),
        "endpoint": labels.get(f"{LABEL}/endpoint", ""),
        "created_at": metadata.get("creationTimestamp", ""),
        "deleting": "deletionTimestamp" in metadata,
    }


def _state(conditions: Mapping[str, object], pods: Sequence[Mapping[str, Any]], needed: int) -> JobState:
    """Where a Job stands that needs so many pods to work. One that ended has none at work: where one is seen, its word is yet to come."""
    ended = bool(conditions.keys() & {"Complete", "Failed"})
    if ended and not any(at_work(pod) and "deletionTimestamp" not in pod["metadata"] for pod in pods):
        return JobState.COMPLETE if "Complete" in conditions else JobState.FAILED
    begun = any(map(_started, pods)) and sum(map(_taken, pods)) >= needed
    return JobState.RUNNING if _ending(conditions) or begun else JobState.WAITING


def _ending(conditions: Mapping[str, object]) -> bool:
    """Whether a Job starts no more pods."""
    return bool(conditions.keys() & {"Complete", "Failed", "FailureTarget", "SuccessCriteriaMet"})


def _word(pods: Sequence[Mapping[str, Any]], state: JobState, first: Mapping[str, Any] | None) -> Termination | None:
    """The word that counts. `first`: the container whose end took the other pods with it, and whose silence they do not break."""
    if state is JobState.FAILED and first:
        return word(first)
    return last_word(pods, state is JobState.COMPLETE)


def _started(pod: Mapping[str, Any]) -> bool:
    """Whether any container of a pod ever ran, and none of them waits for what only somebody can give."""
    if pod["status"].get("phase") != "Pending":
        return True
    return not lacks(pod) and any("running" in state or "terminated" in state for _, state in containers(pod["status"]))


def _between(pods: Sequence[Mapping[str, Any]]) -> bool:
    left = [pod for pod in pods if at_work(pod)]
    return bool(left) and not any(map(_started, left))


def _taken(pod: Mapping[str, Any]) -> bool:
    """Whether a node has taken a pod, and can start it."""
    return _started(pod) or ("startTime" in pod["status"] and not lacks(pod))


def _placed(pods: Sequence[Mapping[str, Any]]) -> str | None:
    """When a node took the first pod: from then on devices are held, and not before."""
    return min((pod["status"]["startTime"] for pod in pods if "startTime" in pod["status"]), default=None)


def _working(pods: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The running pods, by index."""
    return sorted((pod for pod in pods if pod["status"].get("phase") == "Running"), key=index_of)


def _named(pods: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(map(where, pods[:2])) + (f" and {len(pods) - 2} more" if len(pods) > 2 else "")


async def _progress(cluster: Cluster, namespace: str, pods: Sequence[Mapping[str, Any]]) -> Progress | None:
    """The last progress line of the first running pod by index; its figures are those of the whole stage."""
    running = _working(pods)
    if not running:
        return None
    try:
        tail = await cluster.log_tail(namespace, running[0]["metadata"]["name"], MAIN, LOG_LINES)
    except (NotFound, Unavailable):
        return None  # figures only: the pod ended in between, or its node does not answer
    return last_progress(tail)
