"""A cluster on this machine: Jobs carried out as processes, objects kept in a folder. The embedded default of `rehearsal run`.

`fields` lists what of a Job is honoured. Not covered: isolation (containers are processes of the user), limits on memory and disk,
segments that a killed program leaves in /dev/shm, and stop signals: turn SIGTERM into a cancellation where the command starts;
without it everything ends too, only less gently.
"""

import asyncio
import os
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from rehearsal.cluster import fields
from rehearsal.cluster.capacity import Capacity
from rehearsal.cluster.local_jobs import JobController
from rehearsal.cluster.local_node import Node
from rehearsal.cluster.logs import Logs
from rehearsal.cluster.objects import Objects, read
from rehearsal.cluster.port import API_VERSIONS, ClusterError, Conflict, Invalid, Manifest, Manifests, NotFound, Unavailable
from rehearsal.cluster.stamps import now
from rehearsal.cluster.takeover import lock, reap

__all__ = ["Capacity", "LocalCluster"]

_EVENTS = 500


class LocalCluster:
    """The port of a cluster over one folder, which one process at a time may use: `async with LocalCluster(...) as cluster`.

    Entering ends what an earlier command left behind and raises StateInUse when one is still at work. Nothing is started before the
    caller first waits for something else than this cluster, whose methods never wait. Leaving ends every process; what ran counts as
    disrupted, and the next entering goes on. `retry_delay` is the pause after a Job's first failure in a row,
    in seconds.
    """

    def __init__(self, state: Path, capacity: Capacity, retry_delay: float = 1.0) -> None:
        self._state = state.resolve()
        self._capacity, self._retry_delay = capacity, retry_delay
        self._logs = Logs(self._state / "logs")

    async def __aenter__(self) -> Self:
        self._lock = lock(self._state)
        try:
            await reap(self._state)
            self._objects = Objects(self._state / "objects")
        except BaseException:
            os.close(self._lock)
            raise
        self._jobs = JobController(self._objects, self._retry_delay)
        self._node = Node(self._objects, self._state, self._capacity, self._logs)
        self._work = asyncio.create_task(self._keep_working())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._work.cancel()
        await asyncio.gather(self._work, return_exceptions=True)
        try:
            await self._node.close()
        finally:
            os.close(self._lock)

    @staticmethod
    def recorded(state: Path, kind: str, namespace: str, name: str) -> Manifest | None:
        """Return an object as a state folder has it, which another command may be working on; None when it has none."""
        return read(state / "objects", kind, namespace, name)

    async def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """Return the object, or None."""
        self._check_working()
        return self._objects.get(kind, namespace, name)

    async def list(self, kind: str, namespace: str | None, labels: Mapping[str, str]) -> Manifests:
        """Return the objects of a namespace (None: of all) that carry all these labels, oldest first."""
        self._check_working()
        return self._objects.list(kind, namespace, labels)

    async def create(self, manifest: Manifest) -> Manifest:
        """Create the object and return it as stored, or raise AlreadyExists or Invalid (UnsupportedField of a Job)."""
        self._check_working()
        if manifest.get("kind") == "Pod":
            raise Invalid("kind: pods are made by Jobs alone")
        if manifest.get("kind") == "Service":
            raise Invalid("kind: one machine has no Services, by which the nodes of a training find each other")
        if manifest.get("kind") == "Job":
            fields.check(manifest)
        return self._objects.create({key: value for key, value in manifest.items() if key != "status"})

    async def apply(self, manifest: Manifest) -> Manifest:
        """Create a ReconstructionRun, or give an existing one this spec and these labels and annotations, as `kubectl apply` would.

        A changed spec makes a new generation.
        """
        present = await self.get(manifest["kind"], manifest["metadata"].get("namespace", "default"), manifest["metadata"]["name"])
        if present is None:
            return await self.create(manifest)
        metadata = present["metadata"] | {key: manifest["metadata"].get(key, {}) for key in ("labels", "annotations")}
        if manifest["spec"] != present["spec"]:
            metadata["generation"] += 1
        return self._objects.replace({**present, "metadata": metadata, "spec": manifest["spec"]})

    async def delete(self, kind: str, namespace: str, name: str, uid: str) -> None:
        """Delete the object of that UID, and in the background what it owns; with a run go its logs."""
        self._check_working()
        item = self._objects.get(kind, namespace, name)
        if item is None:
            return
        if item["metadata"]["uid"] != uid:
            raise Conflict(f"{kind} {namespace}/{name} is another one: its UID is {item['metadata']['uid']}, not {uid}")
        self._objects.delete(item)
        if kind == "ReconstructionRun":
            self._logs.forget(uid)

    async def patch_status(self, kind: str, namespace: str, name: str, status: Manifest, resource_version: str) -> Manifest:
        """Apply a JSON merge patch to the status and return the object. Raises NotFound, and Conflict on a stale version."""
        self._check_working()
        item = self._objects.get(kind, namespace, name)
        if item is None:
            raise NotFound(f"{kind} {namespace}/{name} does not exist")
        item["metadata"]["resourceVersion"] = resource_version
        return self._objects.replace({**item, "status": _merged(item.get("status", {}), status)})

    async def pods(self, namespace: str, job_uid: str) -> Manifests:
        """Return the pods that the Job of that UID controls, oldest first."""
        self._check_working()
        return self._objects.owned("Pod", namespace, job_uid)

    async def events(self, namespace: str, uid: str) -> Manifests:
        """Return the events about the object of that UID, oldest first."""
        return [event for event in await self.list("Event", namespace, {}) if event.get("involvedObject", {}).get("uid") == uid]

    async def emit(self, event: Manifest) -> None:
        """Record an event; the oldest ones make room."""
        about = event["involvedObject"]
        metadata = {"name": f"{about['name']}.{uuid.uuid4().hex[:16]}", "namespace": about.get("namespace", "default")}
        await self.create(
            {"apiVersion": API_VERSIONS["Event"], "kind": "Event", **event, "metadata": metadata | event.get("metadata", {})}
        )
        for old in self._objects.list("Event")[:-_EVENTS]:
            self._objects.remove(old)

    async def log_tail(self, namespace: str, pod: str, container: str, lines: int) -> str:
        """Return the last lines of a container's log, also of a pod that is gone while its log is kept."""
        text = self._logs.tail(pod, container, lines)
        if text is None and await self.get("Pod", namespace, pod) is None:
            raise NotFound(f"Pod {namespace}/{pod} does not exist")
        return text or ""

    async def _keep_working(self) -> None:
        """Bring pods and processes in line with the objects, whenever something changed or a Job asked to be looked at again."""
        changed = self._objects.changed
        while True:
            changed.clear()
            self._objects.collect_garbage()
            wake = self._jobs.step(now())
            self._node.step()
            pause = None if wake is None else max((wake - now()).total_seconds(), 0.05)
            # Not wait_for: before Python 3.12 it swallows a cancellation that comes in the moment of a change.
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await changed.wait()

    def _check_working(self) -> None:
        """A cluster whose controller has stopped must not look like one where nothing happens."""
        if self._work.done():
            error = None if self._work.cancelled() else self._work.exception()
            if isinstance(error, ClusterError):
                raise error
            raise Unavailable(f"the local cluster has stopped: {error!r}") from error


def _merged(present: object, patch: object) -> Manifest:
    """RFC 7396: what is null goes, objects are merged, everything else is replaced."""
    merged = dict(present) if isinstance(present, dict) else {}
    for key, value in patch.items() if isinstance(patch, dict) else ():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), value) if isinstance(value, dict) else value
    return merged
