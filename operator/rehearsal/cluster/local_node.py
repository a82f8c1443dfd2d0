"""The one node of a local cluster: admits pods in the order they were made, runs them, ends them, and writes their status.

As on a cluster, a pod that does not fit holds up no later one that does.
"""

import asyncio
from pathlib import Path

from rehearsal.cluster.capacity import Capacity, Claim, Ledger
from rehearsal.cluster.job_status import is_finished
from rehearsal.cluster.local_pod import LocalPod
from rehearsal.cluster.logs import Logs
from rehearsal.cluster.objects import Objects
from rehearsal.cluster.place import Place
from rehearsal.cluster.port import Manifest
from rehearsal.cluster.process import settle
from rehearsal.cluster.takeover import Record

JOB_LABEL = "batch.kubernetes.io/job-name"


class Node:
    """`step` compares the pods that should be with those that run; nothing is written but by `step` and `close`."""

    def __init__(self, objects: Objects, state: Path, capacity: Capacity, logs: Logs) -> None:
        self._objects, self._state, self._logs = objects, state, logs
        self._ledger = Ledger(capacity)
        self._pods: dict[str, LocalPod] = {}
        self._places: dict[str, Place] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def step(self) -> None:
        """Start, end and report on pods. Raises what broke a pod's run for no fault of the pod."""
        for pod in self._objects.list("Pod"):
            uid = pod["metadata"]["uid"]
            if uid in self._tasks:
                self._follow(pod, uid)
            elif "deletionTimestamp" in pod["metadata"]:
                self._objects.remove(pod)
            elif not is_finished(pod):
                if "startTime" in pod.get("status", {}):
                    self._write(pod, _disrupted(pod["status"], "NodeLost", "the command that ran this pod was killed"))
                elif refusal := self._ledger.refusal(pod):
                    self._write(pod, _unschedulable(refusal))
                else:
                    self._start(pod, uid)

    async def close(self) -> None:
        """End every pod, as a node that is drained."""
        for task in self._tasks.values():
            if not task.cancelling():
                task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        for pod in self._objects.list("Pod"):
            uid = pod["metadata"]["uid"]
            if uid in self._tasks and self._tasks[uid].cancelled() and "deletionTimestamp" not in pod["metadata"]:
                status = self._pods[uid].status if uid in self._pods else pod["status"]
                self._forget(uid)
                self._write(pod, _disrupted(status, "TerminationByKubelet", "the command that ran this pod ended"))
            elif uid in self._tasks:
                self._follow(pod, uid)

    def _start(self, pod: Manifest, uid: str) -> None:
        claim = self._ledger.admit(uid, pod)
        self._tasks[uid] = asyncio.create_task(self._carry_out(pod, uid, claim))
        self._tasks[uid].add_done_callback(lambda _: self._objects.changed.set())

    async def _carry_out(self, pod: Manifest, uid: str, claim: Claim) -> None:
        taken = {port for place in self._places.values() for port in place.ports.values()}
        place = self._places[uid] = Place(pod, self._state, claim, taken)
        record = Record(self._state, uid)
        logs = self._logs.of_pod(pod["metadata"]["name"], pod["metadata"]["labels"][JOB_LABEL], self._run_of(pod))
        running = self._pods[uid] = LocalPod(pod, place, record, logs, self._objects.changed.set)
        try:
            await running.run()
        finally:
            try:
                await settle(asyncio.create_task(asyncio.to_thread(place.remove)))
            finally:
                record.remove()

    def _follow(self, pod: Manifest, uid: str) -> None:
        task = self._tasks[uid]
        if not task.done():
            if "deletionTimestamp" in pod["metadata"] and not task.cancelling():
                task.cancel()
            if uid in self._pods:
                self._write(pod, self._pods[uid].status)
            return
        status = self._pods[uid].status if uid in self._pods else pod["status"]
        self._forget(uid)
        if task.cancelled():
            self._objects.remove(pod)
        elif isinstance(error := task.exception(), OSError):
            self._write(pod, {**status, "phase": "Failed", "reason": "CreateContainerError", "message": str(error)})
        else:
            task.result()
            self._write(pod, status)

    def _forget(self, uid: str) -> None:
        del self._tasks[uid]
        self._pods.pop(uid, None)
        self._places.pop(uid, None)
        self._ledger.release(uid)

    def _run_of(self, pod: Manifest) -> str:
        """The UID of the pod's run: its Job's owner."""
        job = self._objects.get("Job", pod["metadata"]["namespace"], pod["metadata"]["labels"][JOB_LABEL])
        owners = job["metadata"].get("ownerReferences", ()) if job else ()
        return str(owners[0]["uid"]) if owners else ""

    def _write(self, pod: Manifest, status: Manifest) -> None:
        self._objects.replace({**pod, "status": status})


def _unschedulable(message: str) -> Manifest:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return {"phase": "Pending", "conditions": [condition]}


def _disrupted(status: Manifest, reason: str, message: str) -> Manifest:
    """A pod that ended through no fault of its own."""
    condition = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}
    return {
        **status,
        "phase": "Failed",
        "reason": reason,
        "message": message,
        "conditions": [*status.get("conditions", ()), condition],
    }
