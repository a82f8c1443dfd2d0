"""The Job controller of a local cluster: carries out, by one step at a time, what `job_status` decides."""

import hashlib
import itertools
from datetime import datetime

from rehearsal.cluster.job_status import INDEX_ANNOTATION, decide, is_finished
from rehearsal.cluster.local_node import JOB_LABEL
from rehearsal.cluster.objects import Objects
from rehearsal.cluster.port import API_VERSIONS, Manifest, Manifests

_CONTROLLER_LABEL = "batch.kubernetes.io/controller-uid"
_LONGEST_PREFIX = 48
"""Of a pod's name that its Job's name may fill, so that the name stays a host name."""


class JobController:
    """Makes and ends the pods of Jobs. `retry_delay` is the pause after the first failure in a row, in seconds."""

    def __init__(self, objects: Objects, retry_delay: float) -> None:
        self._objects, self._retry_delay = objects, retry_delay

    def step(self, now: datetime) -> datetime | None:
        """Do what every Job wants now, and return when one of them wants to be looked at again."""
        wakes = [self._step(job, now) for job in self._objects.list("Job")]
        return min((wake for wake in wakes if wake), default=None)

    def _step(self, job: Manifest, now: datetime) -> datetime | None:
        namespace, uid = job["metadata"]["namespace"], job["metadata"]["uid"]
        pods = self._objects.owned("Pod", namespace, uid)
        step = decide(job, pods, now, self._retry_delay)
        if step.expired:
            self._objects.delete(job)
            return None
        if step.end_pods:
            for pod in pods:
                if not is_finished(pod):
                    self._objects.delete(pod)
        self._objects.replace({**job, "status": step.status})
        for index in step.start:
            pods.append(self._objects.create(_pod(job, index, pods)))
        return step.wake


def _pod(job: Manifest, index: int, pods: Manifests) -> Manifest:
    """A pod of the Job, with a name that none of the others has."""
    metadata, template = job["metadata"], job["spec"]["template"]
    described = template.get("metadata", {})
    labels = {**described.get("labels", {}), JOB_LABEL: metadata["name"], _CONTROLLER_LABEL: metadata["uid"]}
    annotations = dict(described.get("annotations", {}))
    stem = metadata["name"][:_LONGEST_PREFIX]
    if job["spec"].get("completionMode") == "Indexed":
        stem, annotations[INDEX_ANNOTATION] = f"{stem}-{index}", str(index)
        labels[INDEX_ANNOTATION] = str(index)
    owner = {"apiVersion": job["apiVersion"], "kind": "Job", "name": metadata["name"], "uid": metadata["uid"], "controller": True}
    return {
        "apiVersion": API_VERSIONS["Pod"],
        "kind": "Pod",
        "metadata": {
            "name": _free_name(stem, metadata["uid"], {pod["metadata"]["name"] for pod in pods}),
            "namespace": metadata["namespace"],
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [owner],
        },
        "spec": template["spec"],
        "status": {"phase": "Pending"},
    }


def _free_name(stem: str, job_uid: str, taken: set[str]) -> str:
    """The first free name of a series that depends on nothing but the Job."""
    names = (f"{stem}-{hashlib.sha256(f'{job_uid} {number}'.encode()).hexdigest()[:5]}" for number in itertools.count(len(taken)))
    return next(name for name in names if name not in taken)
