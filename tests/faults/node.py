"""The node of the in-memory cluster: scheduler and kubelet in one. It plays the pods; what they do is a worker's, given from outside."""

from collections.abc import Callable
from dataclasses import dataclass

from rehearsal.api.messages import ExitCode, Termination
from rehearsal.cluster.job_status import is_finished
from rehearsal.cluster.port import Manifest
from tests.faults.objects import Objects

NODE = "node-1"
NO_NODE = "0/1 nodes are available: 1 Insufficient cpu."


@dataclass(frozen=True)
class Ended:
    """How a container ended: its exit code, and its termination message where it left one."""

    code: int
    word: Termination | None = None


Worker = Callable[[Manifest], Ended | None]
"""Does the next piece of a pod's work; None while there is more."""


class Node:
    """Starts pods, lets them work a piece a step, and takes away what is deleted. Without a worker nothing fits on it.

    `refuses`: the scheduler's words on a pod, or none when it fits. `lacks`: the kubelet's, on an image that it cannot pull.
    `evicts`: the kubelet's on a running pod that it ends for want of disk. `silent`: pods on a node from which nobody hears any more:
    they stay for ever. `injects`: the name of a container that somebody puts beside a pod's own, and that goes on when they have ended.
    """

    def __init__(self, objects: Objects, stamp: Callable[[], str], worker: Worker | None) -> None:
        self._objects, self._stamp, self._worker = objects, stamp, worker
        self.refuses: Callable[[Manifest], str] = lambda _: "" if worker else NO_NODE
        self.lacks: Callable[[Manifest], str] = lambda _: ""
        self.evicts: Callable[[Manifest], str] = lambda _: ""
        self.silent: Callable[[Manifest], bool] = lambda _: False
        self.injects: Callable[[Manifest], str] = lambda _: ""

    def step(self) -> None:
        for pod in [pod for pod in self._objects.each("Pod") if not self.silent(pod)]:
            if "deletionTimestamp" in pod["metadata"]:
                self._objects.remove(pod)
            elif pod["status"]["phase"] == "Pending":
                self._start(pod)
            elif not is_finished(pod) and _works(pod):
                self._work(pod)

    def _start(self, pod: Manifest) -> None:
        if words := self.refuses(pod):
            unplaced = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words}
            self._objects.replace(pod | {"status": {"phase": "Pending", "conditions": [unplaced]}})
            return
        if words := self.lacks(pod):
            waiting = {"name": "main", "state": {"waiting": {"reason": "ImagePullBackOff", "message": words}}}
            status = {"phase": "Pending", "startTime": self._stamp(), **pod["status"], "containerStatuses": [waiting]}
            self._objects.replace(pod | {"spec": pod["spec"] | {"nodeName": NODE}, "status": status})
            return
        running = {"name": "main", "state": {"running": {"startedAt": self._stamp()}}}
        status = {"phase": "Running", "startTime": self._stamp(), "containerStatuses": [running]}
        self._objects.replace(pod | {"spec": pod["spec"] | {"nodeName": NODE}, "status": status})

    def _work(self, pod: Manifest) -> None:
        assert self._worker
        if words := self.evicts(pod):
            self._objects.replace(pod | {"status": pod["status"] | evicted(words, self._stamp())})
            return
        ended = self._worker(pod)
        if ended is None:
            return
        message = ended.word.model_dump_json(by_alias=True, exclude_defaults=True) if ended.word else ""
        state = {"terminated": {"exitCode": int(ended.code), "message": message, "finishedAt": self._stamp()}}
        phase = "Succeeded" if ended.code == ExitCode.DONE else "Failed"
        containers = [{"name": "main", "state": state}]
        if name := self.injects(pod):
            phase = "Running"
            containers.append({"name": name, "state": {"running": {"startedAt": self._stamp()}}})
        self._objects.replace(pod | {"status": pod["status"] | {"phase": phase, "containerStatuses": containers}})


def _works(pod: Manifest) -> bool:
    """Whether the main container has not ended."""
    return "running" in pod["status"]["containerStatuses"][0]["state"]


def evicted(words: str, now: str) -> Manifest:
    """What a kubelet writes of a pod that it evicts because its node is low on something."""
    disrupted = {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet", "message": words}
    killed = {"name": "main", "state": {"terminated": {"exitCode": 137, "reason": "Error", "message": "", "finishedAt": now}}}
    return {
        "phase": "Failed",
        "reason": "Evicted",
        "message": words,
        "conditions": [disrupted | {"lastTransitionTime": now}],
        "containerStatuses": [killed],
    }
