"""Clusters that hold one run and one Job, with its pods as Kubernetes writes them, and what an observation makes of them."""

from __future__ import annotations

from typing import Any

from rehearsal.api.messages import Termination
from rehearsal.controller.jobs import JobView
from rehearsal.controller.observe import Observation, observe
from rehearsal.manifests.jobs import LABEL
from tests.unit.worlds import NOON

Manifest = dict[str, Any]


class Canned:
    """A cluster that holds one run, one Job and its pods."""

    def __init__(self, job_status: Manifest, *pods: Manifest, events: list[Manifest] | None = None, log: str = "") -> None:
        self._job = {
            "metadata": {
                "name": "medical-elicit-1",
                "namespace": "research",
                "uid": "job-1",
                "creationTimestamp": "2026-01-01T11:00:00Z",
                "labels": {f"{LABEL}/stage": "elicit", f"{LABEL}/run-uid": "run-1"},
                "annotations": {f"{LABEL}/{key}": "0" for key in ("fingerprint", "attempt", "execution", "supplies", "devices")},
            },
            "status": job_status,
        }
        self._pods, self._events, self._log = list(pods), events or [], log

    async def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        metadata = {"name": name, "namespace": namespace, "uid": "run-1", "resourceVersion": "7", "generation": 3}
        return {"metadata": metadata, "spec": {}} if name == "medical" else None

    async def list(self, kind: str, namespace: str | None, labels: Manifest) -> list[Manifest]:
        return [self._job]

    async def pods(self, namespace: str, job_uid: str) -> list[Manifest]:
        return self._pods

    async def events(self, namespace: str, uid: str) -> list[Manifest]:
        return self._events

    async def log_tail(self, namespace: str, pod: str, container: str, lines: int) -> str:
        return self._log


class Together(Canned):
    """A cluster that holds a training Job of two pods."""

    def __init__(self, job_status: Manifest, *pods: Manifest, **more: Any) -> None:
        super().__init__(job_status, *pods, **more)
        self._job["metadata"]["labels"] |= {f"{LABEL}/stage": "train", f"{LABEL}/kind": "train"}
        self._job["spec"] = {"completions": 2}

    async def log_tail(self, namespace: str, pod: str, container: str, lines: int) -> str:
        return f'{{"progress": {{"done": {len(pod)}, "total": 9}}}}'


def pod(phase: str, **status: Any) -> Manifest:
    return {"metadata": {"name": "p"}, "status": {"phase": phase, **status}}


def node(index: int, phase: str, *containers: Manifest, name: str = "p") -> Manifest:
    metadata = {"name": name, "labels": {"batch.kubernetes.io/job-completion-index": str(index)}}
    return {"metadata": metadata, "status": {"phase": phase, "containerStatuses": list(containers)}}


def ended(code: int, word: Termination | None = None, name: str = "main", at: str = "2026-01-01T00:00:00Z") -> Manifest:
    message = word.model_dump_json(by_alias=True) if word else ""
    return {"name": name, "state": {"terminated": {"exitCode": code, "message": message, "finishedAt": at}}}


def failed(reason: str, message: str = "") -> Manifest:
    return {"conditions": [{"type": "Failed", "status": "True", "reason": reason, "message": message}]}


async def seen(cluster: Canned) -> JobView:
    observation = await observe(cluster, "research", "medical", NOON, 30)  # type: ignore[arg-type]
    assert isinstance(observation, Observation)
    return observation.jobs[0]
