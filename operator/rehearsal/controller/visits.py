"""One look at a run after another: reconcile what the queue hands out, count what came of it, say when to look again."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from rehearsal.cluster.port import ClusterError, Conflict, Forbidden, Invalid, NotFound, Unavailable
from rehearsal.controller.metrics import Metrics
from rehearsal.controller.queue import Key, Queue
from rehearsal.controller.reconcile import Reconciled

VISIT_SECONDS = 120.0
"""A visit is a handful of calls with timeouts of their own: one that takes longer hangs."""

RACES = (Conflict.__name__, NotFound.__name__)
"""Troubles that are over when the next look finds what is there now."""

log = logging.getLogger(__name__)


class Visits:
    """Visits of runs. Trouble with one run never stops the others: it is logged once, counted, and tried again."""

    def __init__(
        self,
        reconcile: Callable[[Key], Awaitable[Reconciled | None]],
        refused: Callable[[Key, ClusterError], Awaitable[None]],
        queue: Queue,
        metrics: Metrics,
    ) -> None:
        self._reconcile, self._refused, self._queue, self._metrics = reconcile, refused, queue, metrics
        self._undated: set[Key] = set()
        self._troubles: dict[Key, str] = {}

    async def work(self) -> None:
        """Visit runs until the queue is closed."""
        while (key := await self._queue.take()) is not None:
            await self.visit(key)

    def undated(self) -> frozenset[Key]:
        """Return the unfinished runs that no visit asked to see again at a certain time."""
        return frozenset(self._undated)

    async def visit(self, key: Key) -> None:
        """Reconcile a key that is held, and let it go."""
        started = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(VISIT_SECONDS):
                found = await self._reconcile(key)
        except Conflict as error:
            result = self._conflict(key, error)
        except NotFound as error:  # as a rule the run was deleted in between, and the next look says so
            first = self._troubles.get(key) in (None, Conflict.__name__)
            result = self._conflict(key, error) if first else await self._failed(key, error)
        except Exception as error:  # noqa: BLE001 - whatever one run meets, the next one is visited
            result = await self._failed(key, error)
        else:
            result = self._succeeded(key, found)
        self._metrics.visited(result, asyncio.get_running_loop().time() - started)

    def _succeeded(self, key: Key, found: Reconciled | None) -> str:
        self._undated.discard(key)
        if self._troubles.pop(key, None):
            log.info("%s/%s: visits succeed again", *key)
        self._queue.done(key)
        if found is None:
            self._metrics.gone(key)
            return "gone"
        self._metrics.recorded(key, found.before, found.status)
        if found.plan.look_again is not None:
            self._queue.wake(key, found.plan.look_again)
        elif not found.plan.finished:
            self._undated.add(key)
        return "done"

    def _conflict(self, key: Key, error: Conflict | NotFound) -> str:
        """Somebody wrote in between: look again at once, and later where that happens again and again."""
        if self._troubles.get(key) in RACES:
            self._queue.failed(key)
        else:
            self._queue.done(key)
            self._queue.wake(key)
        self._troubles[key] = type(error).__name__
        log.debug("%s/%s: %s", *key, error)
        return "conflict"

    async def _failed(self, key: Key, error: Exception) -> str:
        kind = kind_of(error)
        self._metrics.error(kind)
        again = self._queue.failed(key, error.retry_after if isinstance(error, Unavailable) else None)
        words = f"{kind}: {error}"
        if self._troubles.get(key) != words:
            self._troubles[key] = words
            log.error("%s/%s: %s; looked at again in %.0f s", *key, words, again, exc_info=error if kind == "Bug" else None)
        if isinstance(error, Forbidden | Invalid):
            await self._refused(key, error)
        return kind.lower()


def kind_of(error: Exception) -> str:
    """Return the name under which an error is counted."""
    for kind in (Conflict, Forbidden, Invalid, Unavailable, ClusterError):
        if isinstance(error, kind):
            return kind.__name__
    return "Timeout" if isinstance(error, TimeoutError) else "Bug"
