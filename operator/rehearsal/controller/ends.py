"""How the pods of a Job ended: the container whose end tells why, and the last word that counts. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from rehearsal.api.messages import FATAL, RANK_LOST, ExitCode, Termination
from rehearsal.api.status import Disruption
from rehearsal.manifests.pod import DISRUPTED, MAIN

Pods = Sequence[Mapping[str, Any]]

EVICTED = "Evicted"
"""The reason of a pod that the kubelet ended for what it, or its node, had used up; its message says what."""
BY_KUBELET = "TerminationByKubelet"
"""The reason of a disruption that a node-pressure eviction shares with the graceful shutdown of a node."""


def cause(pods: Pods, whole: bool) -> Mapping[str, Any] | None:
    """Return the state of the container whose end tells why pods failed, if one ended by itself.

    Of pods that replaced each other it is the last one. Of pods that end together (`whole`) it is the first that went, and none
    that only lost another; times are whole seconds, so a word that decides goes ahead of them.
    """
    failed = [ended for ended in dead(pods) if ended.get("exitCode") not in (0, ExitCode.TERMINATED)]
    if whole:
        return min(failed, key=lambda ended: (ended["exitCode"] not in FATAL, _lost_another(ended)), default=None)
    return failed[-1] if failed else None


def last_word(pods: Pods, complete: bool) -> Termination | None:
    """Return the latest termination message that can be read: of a complete Job a successful container's."""
    words = (word(ended) for ended in reversed(dead(pods)) if ended.get("exitCode") == 0 or not complete)
    return next(filter(None, words), None)


def word(ended: Mapping[str, Any]) -> Termination | None:
    """Return the termination message of a container, if it is a worker's."""
    try:
        return Termination.model_validate_json(ended.get("message") or "")
    except ValidationError:
        return None


def dead(pods: Pods) -> list[Mapping[str, Any]]:
    """Return the states of main containers that terminated, and of init containers that failed, the latest last."""
    return sorted(_terminated(pods), key=lambda ended: str(ended.get("finishedAt") or ""))


def refusal(pods: Pods) -> str:
    """Return why the kubelet failed a pod whose containers say nothing: it had no device or no room for it after all."""
    statuses = (pod["status"] for pod in pods)
    told = (f"{status['reason']}: {status.get('message', '')}" for status in statuses if _failed_for_a_reason(status))
    return next(told, "")


def at_work(pod: Mapping[str, Any]) -> bool:
    """Tell whether a pod has not ended yet, be it that it is on its way out."""
    return pod["status"].get("phase") in ("Pending", "Running")


def disrupted(pod: Mapping[str, Any]) -> bool:
    """Tell whether a pod was drained or preempted, which is nobody's failure."""
    return _disruption(pod) is not None and not evicted(pod)


def evicted(pod: Mapping[str, Any]) -> bool:
    """Tell whether the kubelet ended a pod because its node ran out of disk, memory or processes: the pod may have used them up.

    Kubernetes marks such a pod as disrupted, and a Job that ignores disruptions would replace it for ever.
    """
    found = _disruption(pod)
    return found is not None and found.get("reason") == BY_KUBELET and pod["status"].get("reason", EVICTED) == EVICTED


def last_disruption(pods: Pods) -> Disruption | None:
    """Return who took away a pod last, node-pressure evictions among them, and in what words."""
    found = [(pod, condition) for pod in pods if (condition := _disruption(pod))]
    if not found:
        return None
    pod, last = max(found, key=lambda each: str(each[1].get("lastTransitionTime") or ""))
    words = str(last.get("message") or pod["status"].get("message") or "")
    return Disruption(
        reason=str(last.get("reason") or DISRUPTED)[:64],
        message=" ".join(words.split())[:512],
        at=last.get("lastTransitionTime"),
    )


def taken_away(pods: Pods) -> str:
    """Return in whose words the last pod was taken away, of pods none of which is at work."""
    last = None if any(map(at_work, pods)) else last_disruption(pods)
    return f"its last pod was taken away: {last.reason}: {last.message}" if last else ""


def worn_out(pods: Pods, limit: int) -> str:
    """Return what to say of the index whose pods were evicted, or failed, more often than the limit, or nothing.

    The Job controller counts failures alone: evictions are counted here.
    """
    failed = [pod for pod in pods if pod["status"].get("phase") == "Failed" and not disrupted(pod)]
    times = Counter(map(index_of, failed))
    beyond = [pod for pod in failed if evicted(pod) and times[index_of(pod)] > limit]
    if not beyond:
        return ""
    words = " ".join(str(beyond[-1]["status"].get("message") or (_disruption(beyond[-1]) or {}).get("message") or "").split())
    return f"{EVICTED}: {words} ({times[index_of(beyond[-1])]} pods of one replica failed or were evicted)"


def index_of(pod: Mapping[str, Any]) -> int:
    """Return a pod's completion index; 0 in a Job without indexes."""
    return int((pod["metadata"].get("labels") or {}).get("batch.kubernetes.io/job-completion-index", 0))


def _disruption(pod: Mapping[str, Any]) -> Mapping[str, Any] | None:
    conditions = pod["status"].get("conditions") or []
    return next((c for c in conditions if c["type"] == DISRUPTED and c["status"] == "True"), None)


def _terminated(pods: Pods) -> Iterator[Mapping[str, Any]]:
    for pod in pods:
        for kind in ("initContainerStatuses", "containerStatuses"):
            for container in pod["status"].get(kind) or []:
                ended = (container.get("state") or {}).get("terminated")
                if ended and (container["name"] == MAIN or ended.get("exitCode")):
                    yield _as_evicted(pod, ended)


def _failed_for_a_reason(status: Mapping[str, Any]) -> bool:
    return status.get("phase") == "Failed" and bool(status.get("reason"))


def _as_evicted(pod: Mapping[str, Any], ended: Mapping[str, Any]) -> Mapping[str, Any]:
    """The end of a container in the kubelet's words, if it killed the pod for what was used up: such a pod is not disrupted."""
    status = pod["status"]
    killed = ended.get("exitCode") in (ExitCode.KILLED, ExitCode.TERMINATED)
    if not killed or status.get("reason") != EVICTED or disrupted(pod):
        return ended
    told = Termination(reason=EVICTED, message=" ".join(str(status.get("message", "")).split())[:2048])
    return {**ended, "exitCode": ExitCode.KILLED, "message": told.model_dump_json(by_alias=True)}


def _lost_another(ended: Mapping[str, Any]) -> bool:
    told = word(ended)
    return told is not None and told.reason == RANK_LOST
