"""What a Job wants, by its spec and its pods: the Job controller's arithmetic. Pure.

As batch/v1 in Kubernetes 1.33 and later, but for the delay between retries, which starts at a second instead of ten.
"""

import math
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from rehearsal.cluster.port import Manifest, Manifests
from rehearsal.cluster.stamps import instant, stamp

LONGEST_DELAY = 60.0
INDEX_ANNOTATION = "batch.kubernetes.io/job-completion-index"


@dataclass(frozen=True)
class Step:
    """A Job's next status, the completion indexes to start a pod for, and when to look again if nothing happens before."""

    status: Manifest
    start: tuple[int, ...] = ()
    end_pods: bool = False
    expired: bool = False
    wake: datetime | None = None


def decide(job: Manifest, pods: Manifests, now: datetime, retry_delay: float) -> Step:
    """Return what is to be done for a Job. `retry_delay` is the pause after the first failure in a row, in seconds."""
    status = job.get("status", {})
    if finished := condition_of(status, "Complete", "Failed"):
        return _after_the_end(job, finished, now)
    spec = job["spec"]
    completions = spec.get("completions", 1)
    live = [pod for pod in pods if not is_finished(pod)]
    done = _completed(pods, indexed=spec.get("completionMode") == "Indexed")
    status = _counted(job, pods, done) | {"startTime": status.get("startTime", stamp(now)), "conditions": []}
    if len(done) >= completions:
        if live:
            return Step(status, end_pods=True)
        complete = _condition("Complete", "CompletionsReached", "Reached expected number of succeeded pods", now)
        return Step(status | {"completionTime": stamp(now), "conditions": [complete]})
    deadline = _deadline(spec, status)
    # A failure that was decided upon stands, whatever becomes of the pods that are still to end.
    failing = condition_of(job.get("status", {}), "FailureTarget")
    if failing is None and (failure := _failure(job, pods, deadline, now)):
        failing = _condition("FailureTarget", *failure, now)
    if failing and live:
        return Step(status | {"conditions": [failing]}, end_pods=True)
    if failing:
        return Step(status | {"conditions": [_condition("Failed", failing["reason"], failing["message"], now)]})
    missing = _missing(spec, done, live)
    pauses = {index: pause for index in missing if (pause := _not_before(spec, pods, index, retry_delay)) and now < pause}
    start = tuple(index for index in missing if index not in pauses)
    return Step(status, start=start, wake=min(filter(None, (deadline, *pauses.values())), default=None))


def condition_of(status: Manifest, *types: str) -> Manifest | None:
    """Return the first true condition of one of these types."""
    return next((c for c in status.get("conditions", ()) if c["type"] in types and c["status"] == "True"), None)


def is_finished(pod: Manifest) -> bool:
    """Tell whether a pod has ended."""
    return _phase(pod) in ("Succeeded", "Failed")


def action_on(job: Manifest, pod: Manifest) -> tuple[str, str]:
    """Return what podFailurePolicy says about a failed pod: FailJob, Ignore or Count, and why in the controller's words."""
    for position, rule in enumerate(job["spec"].get("podFailurePolicy", {}).get("rules", ())):
        if why := _exit_code_match(rule, pod) or _condition_match(rule, pod):
            return rule["action"], f"{why} matching {rule['action']} rule at index {position}"
    return "Count", ""


def _exit_code_match(rule: Manifest, pod: Manifest) -> str | None:
    wanted = rule.get("onExitCodes")
    if not wanted:
        return None
    status = pod.get("status", {})
    for container in [*status.get("containerStatuses", ()), *status.get("initContainerStatuses", ())]:
        code = container.get("state", {}).get("terminated", {}).get("exitCode", 0)
        named = wanted.get("containerName") in (None, container["name"])
        if named and code != 0 and (code in wanted["values"]) == (wanted["operator"] == "In"):
            return f"Container {container['name']} for pod {_name(pod)} failed with exit code {code}"
    return None


def _condition_match(rule: Manifest, pod: Manifest) -> str | None:
    for wanted in rule.get("onPodConditions", ()):
        if condition_of(pod.get("status", {}), wanted["type"]):
            return f"Pod {_name(pod)} has condition {wanted['type']}"
    return None


def _failure(job: Manifest, pods: Manifests, deadline: datetime | None, now: datetime) -> tuple[str, str] | None:
    """Why the Job has failed: reason and message."""
    for pod in _failed(pods):
        action, why = action_on(job, pod)
        if action == "FailJob":
            return "PodFailurePolicy", why
    if _failures(job, pods) > job["spec"].get("backoffLimit", math.inf if _by_index(job["spec"]) else 6):
        return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    if deadline and now >= deadline:
        return "DeadlineExceeded", "Job was active longer than specified deadline"
    if len(_failed_indexes(job, pods)) > job["spec"].get("maxFailedIndexes", math.inf):
        return "MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes"
    return None


def _counted(job: Manifest, pods: Manifests, done: list[int]) -> Manifest:
    """The figures of the status; as on a cluster, those that are nought are left out."""
    active = [pod for pod in pods if not is_finished(pod) and "deletionTimestamp" not in pod["metadata"]]
    figures: Manifest = {
        "active": len(active),
        "ready": sum(condition_of(pod.get("status", {}), "Ready") is not None for pod in active),
        "terminating": sum(not is_finished(pod) for pod in pods) - len(active),
        "succeeded": len(done),
        "failed": _failures(job, pods),
    }
    if job["spec"].get("completionMode") == "Indexed":
        figures["completedIndexes"] = _intervals(sorted(done))
        figures["failedIndexes"] = _intervals(_failed_indexes(job, pods))
    return {name: figure for name, figure in figures.items() if figure}


def _after_the_end(job: Manifest, finished: Manifest, now: datetime) -> Step:
    ttl = job["spec"].get("ttlSecondsAfterFinished")
    if ttl is None:
        return Step(job["status"])
    expiry = instant(finished["lastTransitionTime"]) + timedelta(seconds=ttl)
    return Step(job["status"], expired=now >= expiry, wake=expiry)


def _completed(pods: Manifests, *, indexed: bool) -> list[int]:
    """The completion indexes that are done; without indexes, one number for each pod that succeeded."""
    succeeded = [pod for pod in pods if _phase(pod) == "Succeeded"]
    return sorted({index_of(pod) for pod in succeeded}) if indexed else list(range(len(succeeded)))


def _missing(spec: Manifest, done: list[int], live: Manifests) -> tuple[int, ...]:
    """The indexes to start now: the lowest that are neither done nor held by a pod, as many as may run at once."""
    completions: int = spec.get("completions", 1)
    room: int = min(spec.get("parallelism", 1), completions) - len(live)
    if spec.get("completionMode") == "Indexed":
        held = {*done, *map(index_of, live)}
        return tuple([index for index in range(completions) if index not in held][: max(room, 0)])
    return (0,) * max(min(room, completions - len(done) - len(live)), 0)


def _not_before(spec: Manifest, pods: Manifests, index: int, retry_delay: float) -> datetime | None:
    """The end of the pause after failures in a row.

    Of a Job whose indexes have retries of their own, all failures of the index count, disruptions too; of any other Job those since
    the last success, and a disruption is nobody's failure and costs no pause.
    """
    if _by_index(spec):
        in_a_row = [_ended(pod) for pod in _failed(pods) if index_of(pod) == index]
    else:
        last_success = max((_ended(pod) for pod in pods if _phase(pod) == "Succeeded"), default=None)
        ends = [_ended(pod) for pod in _failed(pods) if not condition_of(pod["status"], "DisruptionTarget")]
        in_a_row = [end for end in ends if last_success is None or end > last_success]
    if not in_a_row:
        return None
    return max(in_a_row) + timedelta(seconds=min(retry_delay * 2.0 ** min(len(in_a_row) - 1, 16), LONGEST_DELAY))


def _by_index(spec: Manifest) -> bool:
    """Whether each index has retries of its own."""
    return "backoffLimitPerIndex" in spec


def _failed_indexes(job: Manifest, pods: Manifests) -> list[int]:
    """The indexes that have used up their retries, in order."""
    if not _by_index(job["spec"]):
        return []
    failures = Counter(index_of(pod) for pod in _failed(pods) if action_on(job, pod)[0] != "Ignore")
    return sorted(index for index, number in failures.items() if number > job["spec"]["backoffLimitPerIndex"])


def index_of(pod: Manifest) -> int:
    """Return a pod's completion index; 0 in a Job without indexes."""
    return int(pod["metadata"].get("annotations", {}).get(INDEX_ANNOTATION, 0))


def _failures(job: Manifest, pods: Manifests) -> int:
    return sum(action_on(job, pod)[0] != "Ignore" for pod in _failed(pods))


def _failed(pods: Manifests) -> Manifests:
    return [pod for pod in pods if _phase(pod) == "Failed"]


def _deadline(spec: Manifest, status: Manifest) -> datetime | None:
    seconds = spec.get("activeDeadlineSeconds")
    return None if seconds is None else instant(status["startTime"]) + timedelta(seconds=seconds)


def _ended(pod: Manifest) -> datetime:
    """When a finished pod ended, by its main container; a pod that never got so far, by its own end."""
    states = [c.get("state", {}).get("terminated", {}) for c in pod["status"].get("containerStatuses", ())]
    return instant(
        next((s["finishedAt"] for s in states if s), pod["status"].get("startTime", pod["metadata"]["creationTimestamp"]))
    )


def _intervals(numbers: list[int]) -> str:
    """Write 0,1,2,5 as "0-2,5"."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ",".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


def _condition(kind: str, reason: str, message: str, now: datetime) -> Manifest:
    return {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": stamp(now)}


def _phase(pod: Manifest) -> str:
    return str(pod.get("status", {}).get("phase", "Pending"))


def _name(pod: Manifest) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
