"""The Job controller of the in-memory cluster, and Kueue, which holds Jobs back by suspending them.

What a Job wants is decided by the arithmetic of `rehearsal.cluster.job_status`, which an API server's Jobs hold to the truth elsewhere.
"""

from datetime import datetime

from rehearsal.cluster.job_status import INDEX_ANNOTATION, decide, is_finished
from rehearsal.cluster.port import API_VERSIONS, Manifest, Manifests
from rehearsal.cluster.stamps import stamp
from tests.faults.objects import Objects, owners

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
RETRY_DELAY = 1.0


class JobController:
    """Makes and ends pods, one step at a time. `refusal`: why the API server takes no pod of any Job (quota, Pod Security)."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self.refusal = ""
        self.dead = False

    def step(self, now: datetime) -> None:
        for job in [] if self.dead else self._objects.each("Job"):
            pods = [pod for pod in self._objects.each("Pod") if job["metadata"]["uid"] in owners(pod)]
            if job["spec"].get("suspend"):
                self._hold(job, pods, now)
            else:
                self._drive(job, pods, now)

    def _drive(self, job: Manifest, pods: Manifests, now: datetime) -> None:
        wanted = decide(job, pods, now, RETRY_DELAY)
        if wanted.expired:
            self._objects.remove(job)
            return
        if wanted.end_pods:
            self._end(pods)
        self._objects.replace(job | {"status": wanted.status})
        for index in wanted.start:
            if self.refusal:
                self._objects.create(_failed_create(job, self.refusal, now))
                return
            pods.append(self._objects.create(_pod(job, index, len(pods))))

    def _hold(self, job: Manifest, pods: Manifests, now: datetime) -> None:
        self._end(pods)
        words = {"type": "Suspended", "status": "True", "reason": "JobSuspended", "message": "Job suspended"}
        held = (job.get("status") or {}).get("conditions") or [words | {"lastTransitionTime": stamp(now)}]
        self._objects.replace(job | {"status": {"conditions": held}})

    def _end(self, pods: Manifests) -> None:
        for pod in pods:
            if not is_finished(pod):
                self._objects.mark(pod)


class Kueue:
    """Suspends every Job that names a queue until that queue is open, and says why.

    `open`: the names of those that are; None: all. `gone`: it was uninstalled, and nobody lets go what it held back.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self.open: set[str] | None = None
        self.gone = False

    def at_creation(self, manifest: Manifest) -> Manifest:
        """What its admission webhook makes of a new Job."""
        held = _queue(manifest) and not self.gone
        return manifest | {"spec": manifest["spec"] | {"suspend": True}} if held else manifest

    def step(self) -> None:
        for job in [] if self.gone else self._objects.each("Job"):
            if queue := _queue(job):
                held = self.open is not None and queue not in self.open
                self._objects.replace(job | {"spec": job["spec"] | {"suspend": held}})
                self._tell(job, f"LocalQueue {queue} is not open" if held else "")

    def _tell(self, job: Manifest, why: str) -> None:
        """Keep the Job's Workload, in whose conditions it is said why the Job is held back."""
        metadata = job["metadata"]
        workload = {
            "apiVersion": API_VERSIONS["Workload"],
            "kind": "Workload",
            "metadata": {
                "name": f"job-{metadata['name']}",
                "namespace": metadata["namespace"],
                "labels": {"kueue.x-k8s.io/job-uid": metadata["uid"]},
                "ownerReferences": [{"kind": "Job", "name": metadata["name"], "uid": metadata["uid"], "controller": True}],
            },
        }
        condition = {"type": "QuotaReserved", "status": str(not why), "reason": "Pending" if why else "Admitted", "message": why}
        there = self._objects.get("Workload", metadata["namespace"], f"job-{metadata['name']}") or self._objects.create(workload)
        self._objects.replace(there | {"status": {"conditions": [condition]}})


def _queue(manifest: Manifest) -> str:
    return str((manifest["metadata"].get("labels") or {}).get(QUEUE_LABEL, ""))


def _pod(job: Manifest, index: int, number: int) -> Manifest:
    metadata, template = job["metadata"], job["spec"]["template"]
    described, numbered = template.get("metadata") or {}, {INDEX_ANNOTATION: str(index)}
    owner = {"apiVersion": job["apiVersion"], "kind": "Job", "name": metadata["name"], "uid": metadata["uid"], "controller": True}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{metadata['name']}-{index}-{metadata['uid'][-6:]}-{number}",
            "namespace": metadata["namespace"],
            "labels": {**(described.get("labels") or {}), "batch.kubernetes.io/job-name": metadata["name"], **numbered},
            "annotations": {**(described.get("annotations") or {}), **numbered},
            "ownerReferences": [owner],
        },
        "spec": template["spec"],
        "status": {"phase": "Pending"},
    }


def _failed_create(job: Manifest, words: str, now: datetime) -> Manifest:
    metadata = job["metadata"]
    about = {"kind": "Job", "namespace": metadata["namespace"], "name": metadata["name"], "uid": metadata["uid"]}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.{now:%d%H%M%S}", "namespace": metadata["namespace"]},
        "involvedObject": about,
        "type": "Warning",
        "reason": "FailedCreate",
        "message": words,
    }
