"""Pods that show no life: told to end and still there, done and still there, or on a node and never started. Pure.

Kubernetes replaces none of them by itself: a Job waits for the end of each of its pods (`podReplacementPolicy: Failed`), and
nothing ends a pod whose node does not answer. Not covered: a pod at work that makes no progress, see `motion`.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from rehearsal.controller.ends import at_work
from rehearsal.controller.waiting import containers
from rehearsal.controller.why import Why
from rehearsal.manifests.pod import LOAD_MODEL, MAIN

Pod = Mapping[str, Any]

ENDING = timedelta(minutes=5)
"""How long after the end of its grace period (its deletionTimestamp) a pod may still be there."""
KEPT = timedelta(minutes=2)
"""How long a pod may outlive its main container: a native sidecar has 30 s to end."""
LACKED = timedelta(minutes=10)
"""How long a container may wait for an image or a Secret: registries have short failures."""
STARTING = timedelta(minutes=30)
"""How long a pod may be on a node without any container: images of 20 GB are pulled in that time."""
LOADING = timedelta(hours=3)
"""How long a model may be brought: 400 GiB at 40 MB/s."""

LACKING = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError", "CreateContainerError")
"""Why a container waits for an image or a Secret: the kubelet tries for ever, and nothing comes of it until somebody acts."""


def stuck(pods: Sequence[Pod], now: datetime) -> Why | None:
    """Return why a pod needs somebody's help, with its name, its node, since when, and the remedy; the gravest case first."""
    living = [pod for pod in pods if at_work(pod)]
    for rule in (_ending, _kept, _lacking, _unstarted, _loading):
        if found := [why for pod in living if (why := rule(pod, now))]:
            more = f"; {len(found) - 1} more pods are like it" if len(found) > 1 else ""
            return found[0]._replace(message=found[0].message + more)
    return None


def lacks(pod: Pod) -> bool:
    """Return whether a container waits for what only somebody can give."""
    return next(_lacked(pod), None) is not None


def where(pod: Pod) -> str:
    """Return a pod's name, and its node's."""
    node = _node(pod)
    return f"pod {pod['metadata']['name']}" + (f" on node {node}" if node else "")


def working_since(pods: Sequence[Pod]) -> str | None:
    """Return when the latest of the main containers at work started."""
    running = (
        state["running"] for pod in pods for container, state in _all(pod) if container["name"] == MAIN and "running" in state
    )
    return max((str(began["startedAt"]) for began in running if began.get("startedAt")), default=None)


def _ending(pod: Pod, now: datetime) -> Why | None:
    asked = pod["metadata"].get("deletionTimestamp")
    if not asked or now - datetime.fromisoformat(asked) < ENDING:
        return None
    return Why("PodStuck", f"{where(pod)} should have ended at {asked} and has not: {_remedy(pod)}")


def _kept(pod: Pod, now: datetime) -> Why | None:
    """A sidecar that was injected as an ordinary container is not ended with the work; without one, the node is silent."""
    ended = next((state["terminated"] for c, state in _all(pod) if c["name"] == MAIN and "terminated" in state), None)
    at = (ended or {}).get("finishedAt")
    if not at or now - datetime.fromisoformat(at) < KEPT:
        return None
    if keepers := [str(c["name"]) for c, state in _all(pod) if c["name"] != MAIN and "running" in state]:
        named = f"container {keepers[0]} keeps" if len(keepers) == 1 else f"containers {', '.join(keepers)} keep"
        return Why(
            "PodStuck",
            f"the work in {where(pod)} ended at {at}, and {named} the pod: delete the pod to go on, and have nothing injected into "
            "pods labelled app.kubernetes.io/managed-by=rehearsal but native sidecars",
        )
    return Why("PodStuck", f"the work in {where(pod)} ended at {at}, and the pod has not: {_remedy(pod)}")


def _lacking(pod: Pod, now: datetime) -> Why | None:
    words, since = next(_lacked(pod), None), _last_change(pod)
    if not words or not since or now - datetime.fromisoformat(since) < LACKED:
        return None
    return Why("PodCannotStart", f"{where(pod)} cannot start since {since}: {words}. The kubelet tries on until that is there")


def _unstarted(pod: Pod, now: datetime) -> Why | None:
    since = _last_change(pod)
    begun = pod["status"].get("phase") != "Pending" or any({"running", "terminated"} & state.keys() for _, state in _all(pod))
    if begun or not since or now - datetime.fromisoformat(since) < STARTING:
        return None
    words = f"{where(pod)} has started no container since {since}: `kubectl describe pod` tells what it waits for. If nothing"
    return Why("PodCannotStart", f"{words}, {_remedy(pod)}")


def _loading(pod: Pod, now: datetime) -> Why | None:
    loads = (state["running"].get("startedAt") for c, state in _all(pod) if c["name"] == LOAD_MODEL and "running" in state)
    since = next(loads, None)
    if not since or now - datetime.fromisoformat(since) < LOADING:
        return None
    words = f"container {LOAD_MODEL} of {where(pod)} brings a model since {since}: look at its log and at the store's speed"
    return Why("NoProgress", f"{words}; a pod that is deleted is replaced")


def _remedy(pod: Pod) -> str:
    """What frees a pod whose node does not answer: Kubernetes' own ways, of which one is needed."""
    name, node = pod["metadata"]["name"], _node(pod)
    inside = f" --namespace={pod['metadata']['namespace']}" if pod["metadata"].get("namespace") else ""
    forced = f"force-delete the pod (kubectl delete pod {name} --force --grace-period=0{inside})"
    if not node:
        return f"{forced}, or remove the finalizer that holds it"
    taint = f"taint it (kubectl taint node {node} node.kubernetes.io/out-of-service=nodeshutdown:NoExecute)"
    return f"if the node does not answer, delete it, {taint} or {forced}"


def _lacked(pod: Pod) -> Iterator[str]:
    for _, state in _all(pod):
        waits = state.get("waiting") or {}
        if waits.get("reason") in LACKING:
            yield f"{waits['reason']}: {waits['message']}" if waits.get("message") else str(waits["reason"])


def _last_change(pod: Pod) -> str | None:
    """When a pod last came further on its node: it was placed, accepted, or a container of it started or ended."""
    placed = (c for c in pod["status"].get("conditions") or [] if c["type"] == "PodScheduled" and c["status"] == "True")
    times = [pod["status"].get("startTime"), *(c.get("lastTransitionTime") for c in placed)]
    for _, state in _all(pod):
        times += [(state.get("running") or {}).get("startedAt"), (state.get("terminated") or {}).get("finishedAt")]
    return max(filter(None, times), default=None)


def _all(pod: Pod) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    return containers(pod["status"])


def _node(pod: Pod) -> str:
    return str((pod.get("spec") or {}).get("nodeName") or "")
