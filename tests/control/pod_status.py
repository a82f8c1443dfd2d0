"""What a kubelet writes into a pod's status, as strategic merge patches. Pure: time is an argument.

Containers start in the order of the manifest. Those before the current one are done, sidecars among them run; those after it wait.
"""

from dataclasses import dataclass
from typing import Any

from tests.control.access import Manifest


@dataclass(frozen=True)
class Pod:
    """A pod as last seen."""

    manifest: Manifest

    @property
    def namespace(self) -> str:
        return str(self.manifest["metadata"]["namespace"])

    @property
    def name(self) -> str:
        return str(self.manifest["metadata"]["name"])

    @property
    def uid(self) -> str:
        return str(self.manifest["metadata"]["uid"])

    @property
    def version(self) -> int:
        """Its resourceVersion: a greater one is newer."""
        return int(self.manifest["metadata"]["resourceVersion"])

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.manifest["metadata"].get("labels", {}))

    @property
    def job(self) -> str:
        """The name of its Job."""
        return self.labels.get("batch.kubernetes.io/job-name", "")

    @property
    def stage(self) -> str:
        return self.labels.get("rehearsal.dev/stage", "")

    @property
    def index(self) -> int:
        """Its completion index."""
        return int(self.labels.get("batch.kubernetes.io/job-completion-index", 0))

    @property
    def node(self) -> str:
        """The node it is bound to, if any."""
        return str(self.manifest["spec"].get("nodeName", ""))

    @property
    def phase(self) -> str:
        return str(self.manifest["status"].get("phase", "Pending"))

    @property
    def is_deleted(self) -> bool:
        """Whether its deletion was asked for."""
        return "deletionTimestamp" in self.manifest["metadata"]

    @property
    def is_live(self) -> bool:
        """Whether it has neither ended nor been deleted."""
        return self.phase in ("Pending", "Running") and not self.is_deleted

    @property
    def path(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"


def running(pod: Pod, container: str, now: str) -> Manifest:
    """Return the patch for a container that runs: Pending while it is an init container, Running with the main one."""
    is_main = _is_main(pod, container)
    state = {"running": {"startedAt": now}}
    conditions = [_condition("Initialized", is_main, now), _condition("Ready", is_main, now)]
    return _patch(pod, "Running" if is_main else "Pending", container, state, now, conditions)


def waiting(pod: Pod, container: str, reason: str, message: str, now: str) -> Manifest:
    """Return the patch for a container that cannot start, as with ErrImagePull."""
    return _patch(pod, "Pending", container, {"waiting": {"reason": reason, "message": message}}, now, [])


def ended(pod: Pod, container: str, code: int, message: str, now: str) -> Manifest:
    """Return the patch for a pod that ended with this container."""
    terminated: Manifest = {
        "exitCode": code,
        "reason": "Error" if code else "Completed",
        "startedAt": _started(pod, container) or now,
        "finishedAt": now,
    }
    if message:
        terminated["message"] = message
    reason = "PodFailed" if code else "PodCompleted"
    conditions = [_condition("Ready", False, now, reason)]
    return _patch(pod, "Failed" if code else "Succeeded", container, {"terminated": terminated}, now, conditions)


def unschedulable(message: str, now: str) -> Manifest:
    """Return what a scheduler writes when no node will do."""
    return {"status": {"conditions": [_condition("PodScheduled", False, now, "Unschedulable", message)]}}


def disrupted(reason: str, message: str, now: str) -> Manifest:
    """Return what announces a disruption: a drain, a preemption."""
    return {"status": {"conditions": [_condition("DisruptionTarget", True, now, reason, message)]}}


def _patch(pod: Pod, phase: str, current: str, state: Manifest, now: str, conditions: list[Manifest]) -> Manifest:
    init, main = pod.manifest["spec"].get("initContainers", []), pod.manifest["spec"]["containers"]
    done = "terminated" in state
    states: dict[str, Manifest] = {}
    past: dict[str, Any] = {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}}
    for container in [*init, *main]:
        if current in states:
            states[container["name"]] = {"waiting": {"reason": "PodInitializing"}}
        elif container["name"] == current:
            states[current] = state
        else:
            runs_on = container.get("restartPolicy") == "Always" and not done
            states[container["name"]] = {"running": {"startedAt": now}} if runs_on else past
    status: Manifest = {"phase": phase, "containerStatuses": [_container(each, states) for each in main], "conditions": conditions}
    status["initContainerStatuses"] = [_container(each, states) for each in init]
    status["startTime"] = pod.manifest["status"].get("startTime", now)
    return {"status": status}


def _container(container: Manifest, states: dict[str, Manifest]) -> Manifest:
    state = states[container["name"]]
    up = "running" in state
    names = {"name": container["name"], "image": container["image"], "imageID": ""}
    return names | {"ready": up, "started": up, "restartCount": 0, "state": state}


def _is_main(pod: Pod, container: str) -> bool:
    return any(each["name"] == container for each in pod.manifest["spec"]["containers"])


def _started(pod: Pod, container: str) -> str:
    status = pod.manifest["status"]
    every = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    return next((str(each["state"].get("running", {}).get("startedAt", "")) for each in every if each["name"] == container), "")


def _condition(kind: str, holds: bool, now: str, reason: str = "", message: str = "") -> Manifest:
    condition = {"type": kind, "status": str(holds), "lastTransitionTime": now}
    return condition | ({"reason": reason} if reason else {}) | ({"message": message} if message else {})
