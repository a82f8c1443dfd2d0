"""kopf, at its only place: it watches, and every event becomes a note. Its handlers decide nothing and write nothing.

No finalizer, annotation, peering or event of kopf's is ever written. Definitions are looked up once, when a watch begins.
"""

import asyncio
import os
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import kopf
from kopf._core.reactor.inventory import ResourceMemories, ResourceMemory

from rehearsal.cluster.port import Manifest

MANAGED = "app.kubernetes.io/managed-by=rehearsal"
RUNS = ("rehearsal.dev", "v1alpha1", "reconstructionruns")
CHILDREN = (("batch", "v1", "jobs"), ("", "v1", "pods"))

Seen = Callable[[str | None, Manifest], None]
"""Told of each event: its type (None: the object was there when the watch began) and the object."""


async def watch(seen: Seen, namespaces: Sequence[str], started: Callable[[], None]) -> None:
    """Watch runs and their Jobs and pods, in these namespaces or, without any, in all. Ends by an error or cancellation only.

    `started` is called once the watches are set up: kopf takes the process's signal handlers, and here they can be taken back.
    """
    tasks = await kopf.spawn_tasks(
        registry=registry(seen),
        settings=settings(),
        memories=NoMemories(),
        namespaces=namespaces,
        clusterwide=not namespaces,
        standalone=True,
    )
    started()
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await _end_watchers()


async def _end_watchers() -> None:
    """Cancel kopf's watchers, and wait until they are gone; what else it runs ends with the loop.

    `kopf.run_tasks` leaves the others alone when one fails. When the loop's end cancels them together with the tasks by which
    kopf tells them to pause, they take it for a pause, and watch on: the process would not end. Their name is kopf's own; a test
    says when it changes.
    """
    watchers = [task for task in asyncio.all_tasks() if task.get_name().startswith("watcher for ")]
    for task in watchers:
        task.cancel()
    await asyncio.gather(*watchers, return_exceptions=True)


def registry(seen: Seen) -> kopf.OperatorRegistry:
    """Return kopf's handlers: one that logs in, and one an event."""
    handlers = kopf.OperatorRegistry()

    async def note(event: kopf.RawEvent, **_: object) -> None:
        seen(event["type"], dict(event["object"]))

    async def login(settings: kopf.OperatorSettings, **_: object) -> kopf.ConnectionInfo | None:
        named = kopf.login_with_kubeconfig(settings=settings) if os.environ.get("KUBECONFIG") else None
        return named or kopf.login_with_service_account(settings=settings) or kopf.login_with_kubeconfig(settings=settings)

    kopf.on.login(registry=handlers)(login)
    for resource in (RUNS, *CHILDREN):
        kopf.on.event(*resource, registry=handlers)(note)
    return handlers


def settings() -> kopf.OperatorSettings:
    """Return kopf's settings."""
    chosen = kopf.OperatorSettings()
    chosen.scanning.disabled = True
    chosen.posting.enabled = False
    chosen.process.ultimate_exiting_timeout = None
    chosen.persistence.diffbase_storage = NoDiffBase()
    # A whole object lives as long as kopf's worker for it, and a hundred of them is what a list holds at a time.
    chosen.queueing.idle_timeout = 0.05
    chosen.watching.chunk_size = 100
    chosen.queueing.exit_timeout = 0.5
    chosen.networking.connect_timeout = 10
    chosen.networking.request_timeout = 30
    chosen.networking.enforce_retry_after = True
    chosen.networking.error_backoffs = Backoffs()
    chosen.watching.connect_timeout = 10
    # A server ends a watch after five minutes, and one that it forgets is ended here; between them bookmarks come by the minute.
    chosen.watching.server_timeout = 300
    chosen.watching.client_timeout = 330
    for resource in CHILDREN:
        chosen.watching.label_selectors[resource] = MANAGED
    return chosen


class Backoffs:
    """Jittered delays without end: an API server that is away must not end the watch, and with it the process."""

    def __iter__(self) -> Iterator[float]:
        longest = 1.0
        while True:
            yield random.uniform(longest / 2, longest)  # noqa: S311 - spreads load, hides nothing
            longest = min(2 * longest, 30.0)


class NoMemories(ResourceMemories):
    """kopf keeps some kilobytes of every object that it ever saw, for handlers that we do not have: of 26,000 objects, too much.

    Not public in kopf, though `spawn_tasks` takes one; a test says when it changes.
    """

    async def recall(
        self,
        raw_body: kopf.RawBody,
        *,
        memobase: Any = None,  # noqa: ANN401 - as in kopf
        noticed_by_listing: bool = False,
        ephemeral: bool = False,
    ) -> ResourceMemory:
        """Return a new memory each time, as kopf does for objects that may never exist."""
        return await super().recall(raw_body, memobase=memobase, noticed_by_listing=noticed_by_listing, ephemeral=True)


class NoDiffBase(kopf.DiffBaseStorage):
    """Nothing of an object is kept to compare it with later; kopf's own storage copies each object at each event."""

    def build(self, *, body: kopf.Body, extra_fields: object = None) -> kopf.BodyEssence:
        """Return nothing to compare."""
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        """Return nothing to compare with."""
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Write nothing."""
