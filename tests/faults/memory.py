"""A cluster in memory: the port, over objects that a Job controller, Kueue and a node move on, one step of a virtual clock at a time."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

from rehearsal.cluster.port import Conflict, Manifest, Manifests, NotFound
from rehearsal.cluster.stamps import stamp
from tests.faults.job_controller import JobController, Kueue
from tests.faults.node import Node, Worker
from tests.faults.objects import Objects, View, merged

NOON = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
STEP = timedelta(seconds=5)

Write = tuple[str, str, str]
"""Verb, kind, name."""


class MemoryCluster:
    """Everything that is true at this moment. `written` is every write it took; `watch` is shown every status, as it was and as it is."""

    def __init__(self, worker: Worker | None = None, log: Callable[[Manifest], str] | None = None) -> None:
        self.now = NOON
        self.written: list[Write] = []
        self.watch: Callable[[Manifest, Manifest], None] = lambda before, after: None
        self._worker, self._log = worker, log
        self._furnish(Objects(self._stamp))

    def fork(self, worker: Worker, log: Callable[[Manifest], str]) -> "MemoryCluster":
        """A twin that goes its own way from here, with workers of its own."""
        twin = MemoryCluster(worker, log)
        twin._furnish(self.objects.fork(twin._stamp))
        twin.now, twin.written = self.now, list(self.written)
        twin.node.refuses, twin.node.lacks, twin.node.silent = self.node.refuses, self.node.lacks, self.node.silent
        twin.node.evicts, twin.node.injects = self.node.evicts, self.node.injects
        twin.jobs.refusal, twin.jobs.dead = self.jobs.refusal, self.jobs.dead
        twin.kueue.open, twin.kueue.gone = self.kueue.open, self.kueue.gone
        return twin

    def step(self) -> None:
        """Let everybody but the operator act once, and five seconds pass."""
        self.now += STEP
        self.objects.collect_garbage()
        self.kueue.step()
        self.jobs.step(self.now)
        self.node.step()

    def snapshot(self) -> View:
        return self.objects.snapshot()

    def edit(self, namespace: str, name: str, **spec: object) -> None:
        """What `kubectl apply` does with another spec: a new generation."""
        present = self.objects.get("ReconstructionRun", namespace, name)
        assert present
        metadata = present["metadata"] | {"generation": present["metadata"]["generation"] + 1}
        self.objects.replace(present | {"metadata": metadata, "spec": present["spec"] | spec})

    async def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        return self.objects.get(kind, namespace, name)

    async def list(self, kind: str, namespace: str | None, labels: Mapping[str, str]) -> Manifests:
        return self.objects.list(kind, namespace, labels)

    async def create(self, manifest: Manifest) -> Manifest:
        known = {key: value for key, value in manifest.items() if key != "status"}
        created = self.objects.create(self.kueue.at_creation(known))
        self.written.append(("create", created["kind"], created["metadata"]["name"]))
        return created

    async def delete(self, kind: str, namespace: str, name: str, uid: str) -> None:
        item = self.objects.get(kind, namespace, name)
        if item is None:
            return
        if item["metadata"]["uid"] != uid:
            raise Conflict(f"{kind} {namespace}/{name} is another one: its UID is {item['metadata']['uid']}, not {uid}")
        if kind == "Pod":
            self.objects.mark(item)
        else:
            self.objects.remove(item)
        self.written.append(("delete", kind, name))

    async def patch_status(self, kind: str, namespace: str, name: str, status: Manifest, resource_version: str) -> Manifest:
        item = self.objects.get(kind, namespace, name)
        if item is None:
            raise NotFound(f"{kind} {namespace}/{name} does not exist")
        after = item | {"status": merged(item.get("status"), status)}
        after["metadata"] = item["metadata"] | {"resourceVersion": resource_version}
        stored = self.objects.replace(after)
        self.watch(item, stored)
        self.written.append(("patch_status", kind, name))
        return stored

    async def pods(self, namespace: str, job_uid: str) -> Manifests:
        return self.objects.owned("Pod", namespace, job_uid)

    async def events(self, namespace: str, uid: str) -> Manifests:
        return self.objects.about(namespace, uid)

    async def emit(self, event: Manifest) -> None:
        about = event["involvedObject"]
        made_up = {"name": f"{about['name']}.{len(self.objects.items)}", "namespace": about.get("namespace", "default")}
        whole = {"apiVersion": "v1", "kind": "Event", **event, "metadata": made_up | event.get("metadata", {})}
        self.objects.create(whole)
        self.written.append(("emit", "Event", whole["metadata"]["name"]))

    async def log_tail(self, namespace: str, pod: str, container: str, lines: int) -> str:
        found = self.objects.get("Pod", namespace, pod)
        if found is None:
            raise NotFound(f"Pod {namespace}/{pod} does not exist")
        return self._log(found) if self._log and found["status"]["phase"] != "Pending" else ""

    def _furnish(self, objects: Objects) -> None:
        self.objects = objects
        self.jobs, self.kueue = JobController(objects), Kueue(objects)
        self.node = Node(objects, self._stamp, self._worker)

    def _stamp(self) -> str:
        return stamp(self.now)


@asynccontextmanager
async def stepping(cluster: MemoryCluster) -> AsyncIterator[MemoryCluster]:
    """Let the cluster step whenever nobody else has anything to do, as a real one never rests."""

    async def keep_stepping() -> None:
        while True:
            await asyncio.sleep(0.01)
            cluster.step()

    work = asyncio.create_task(keep_stepping())
    try:
        yield cluster
    finally:
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work
