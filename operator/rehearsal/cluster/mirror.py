"""A cluster read from memory: one list a sweep and the watches' news instead of a question for every look at a run.

Writes go through, and what they return is known at once. It may be behind the cluster, never behind what was told to it: a decision
made from an old view meets the cluster's own guards (versions, UIDs, names). Not here: Jobs and pods without the operator's label.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Protocol, runtime_checkable

from rehearsal.cluster.memory import RUN, Key, Memory
from rehearsal.cluster.port import Cluster, Conflict, Manifest, Manifests, NotFound, Unavailable
from rehearsal.cluster.slim import slim

OURS: Mapping[str, Mapping[str, str]] = {
    RUN: {},
    "Job": {"app.kubernetes.io/managed-by": "rehearsal"},
    "Pod": {"app.kubernetes.io/managed-by": "rehearsal"},
}
"""The kinds that are mirrored, and the labels by which an object of them is the operator's."""


@runtime_checkable
class Paged(Protocol):
    """A cluster that lists piece by piece, so that thirteen thousand pods need not lie in memory at once."""

    def pages(self, kind: str, namespace: str | None, labels: Mapping[str, str]) -> AsyncIterator[Manifests]:
        """Yield what `list` returns, some at a time and in no order."""
        ...


class Mirror:
    """The port of a cluster over another one. Objects of mirrored kinds come slim: see `slim`.

    `refresh` first: until then `list` and `pods` are Unavailable, because an empty memory is not an empty cluster.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._memory = Memory(OURS)
        self._refreshing = asyncio.Lock()
        self._filled: set[str | None] = set()
        self._changed: set[Key] = set()

    def note(self, type: str | None, item: Manifest) -> Key | None:
        """Take in what a watch says (ADDED, MODIFIED, DELETED; None: there already). Returns the run whose world changed, if known."""
        if item["kind"] not in OURS:
            return None
        if type == "DELETED":
            return self._memory.drop(item)
        if _is_ours(item):
            return self._memory.put(item)
        metadata = item["metadata"]
        known = self._memory.version(item["kind"], (metadata["namespace"], metadata["name"]))
        return self._memory.drop(item) if int(metadata["resourceVersion"]) > known else None

    async def refresh(self, namespace: str | None) -> set[Key]:
        """List everything of a namespace (None: of all) anew. Returns the runs whose world turns out to have changed.

        What a refresh found out before it failed is returned by the next one.
        """
        async with self._refreshing:
            for kind, labels in OURS.items():
                await self._refresh(kind, namespace, labels)
            self._filled.add(namespace)
            changed, self._changed = self._changed, set()
            return changed

    async def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """Return the object; one that is not in memory is asked for."""
        if kind in OURS and (known := self._memory.get(kind, namespace, name)):
            return known
        item = await self._cluster.get(kind, namespace, name)
        return self._noted(item) if item else None

    async def list(self, kind: str, namespace: str | None, labels: Mapping[str, str]) -> Manifests:
        """Return the objects of a namespace (None: of all) that carry all these labels, oldest first."""
        if kind not in OURS:
            return await self._cluster.list(kind, namespace, labels)
        self._check_filled(namespace)
        return self._memory.select(kind, namespace, labels)

    async def create(self, manifest: Manifest) -> Manifest:
        """Create the object and return it as stored, or raise AlreadyExists or Invalid."""
        return self._noted(await self._cluster.create(manifest))

    async def delete(self, kind: str, namespace: str, name: str, uid: str) -> None:
        """Delete the object of that UID. It is not seen again, unless something holds it up and a watch says so."""
        try:
            await self._cluster.delete(kind, namespace, name, uid)
        except Conflict:
            await self._read_anew(kind, namespace, name)
            raise
        if kind in OURS and kind != "Pod":
            self._memory.forget(kind, namespace, name, uid)

    async def patch_status(self, kind: str, namespace: str, name: str, status: Manifest, resource_version: str) -> Manifest:
        """Patch the status. After a Conflict, or when the object is gone, the next look sees what the cluster has now."""
        try:
            return self._noted(await self._cluster.patch_status(kind, namespace, name, status, resource_version))
        except (Conflict, NotFound):
            await self._read_anew(kind, namespace, name)
            raise

    async def pods(self, namespace: str, job_uid: str) -> Manifests:
        """Return the pods that the Job of that UID controls, oldest first."""
        self._check_filled(namespace)
        return self._memory.owned("Pod", namespace, job_uid)

    async def events(self, namespace: str, uid: str) -> Manifests:
        """Return the events about the object of that UID, oldest first."""
        return await self._cluster.events(namespace, uid)

    async def emit(self, event: Manifest) -> None:
        """Record an event."""
        await self._cluster.emit(event)

    async def log_tail(self, namespace: str, pod: str, container: str, lines: int) -> str:
        """Return the last lines of a container's log."""
        return await self._cluster.log_tail(namespace, pod, container, lines)

    async def _refresh(self, kind: str, namespace: str | None, labels: Mapping[str, str]) -> None:
        listed: set[Key] = set()
        began = self._memory.begin(kind)
        async for page in self._pages(kind, namespace, labels):
            while page:  # as they are taken in they are let go: a page is many times what is kept of it
                item = page.pop()
                listed.add((item["metadata"]["namespace"], item["metadata"]["name"]))
                if run := self._memory.put(item, listed=True):
                    self._changed.add(run)
        self._changed |= self._memory.settle(kind, namespace, listed, began)

    async def _pages(self, kind: str, namespace: str | None, labels: Mapping[str, str]) -> AsyncIterator[Manifests]:
        if isinstance(self._cluster, Paged):
            async for page in self._cluster.pages(kind, namespace, labels):
                yield page
        else:
            yield await self._cluster.list(kind, namespace, labels)

    async def _read_anew(self, kind: str, namespace: str, name: str) -> None:
        if kind not in OURS:
            return
        known = self._memory.get(kind, namespace, name)
        if item := await self._cluster.get(kind, namespace, name):
            self._noted(item)
        elif known and self._memory.version(kind, (namespace, name)) == int(known["metadata"]["resourceVersion"]):
            self._memory.forget(kind, namespace, name, known["metadata"]["uid"])

    def _noted(self, item: Manifest) -> Manifest:
        if item["kind"] not in OURS:
            return item
        self.note(None, item)
        return slim(item)

    def _check_filled(self, namespace: str | None) -> None:
        if not self._filled & {namespace, None}:
            raise Unavailable(f"the mirror does not hold {namespace or 'all namespaces'} yet")


def _is_ours(item: Manifest) -> bool:
    return OURS[item["kind"]].items() <= (item["metadata"].get("labels") or {}).items()
