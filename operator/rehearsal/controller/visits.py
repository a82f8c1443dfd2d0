"""One look at a run after another: reconcile what the queue hands out, count what came of it, say when to look again."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from rehearsal.cluster.port import ClusterError, Conflict, Forbidden, Invalid, NotFound, Unavailable
from rehearsal.controller.metrics import Metrics
from rehearsal.controller.queue import Key, Queue
from rehearsal.controller.reconcile import Reconciled
from rehearsal.controller.why import kind_of

VISIT_SECONDS = 120.0
"""A visit is a handful of calls with timeouts of their own: one that takes longer hangs."""

RACES = (Conflict.__name__, NotFound.__name__)
"""Troubles that are over when the next look finds what is there now."""

LASTING_SECONDS = 60.0
"""A run is told of any trouble that lasts so long; of one that needs somebody, at once."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Trouble:
    """Why the looks at a run fail, and the loop time since which they do."""

    kind: str
    words: str
    since: float

    @property
    def lasts(self) -> bool:
        return asyncio.get_running_loop().time() - self.since >= LASTING_SECONDS


class Visits:
    """Visits of runs. Trouble with one run never stops the others: it is logged once, counted, and tried again."""

    def __init__(
        self,
        reconcile: Callable[[Key], Awaitable[Reconciled | None]],
        tell: Callable[[Key, Exception], Awaitable[None]],
        queue: Queue,
        metrics: Metrics,
    ) -> None:
        self._reconcile, self._tell, self._queue, self._metrics = reconcile, tell, queue, metrics
        self._undated: set[Key] = set()
        self._troubles: dict[Key, _Trouble] = {}

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
            result = await self._conflict(key, error)
        except NotFound as error:  # as a rule the run was deleted in between, and the next look says so
            first = key not in self._troubles or self._troubles[key].kind == Conflict.__name__
            result = await self._conflict(key, error) if first else await self._failed(key, error)
        except Exception as error:  # noqa: BLE001 - whatever one run meets, the next one is visited
            result = await self._failed(key, error)
        else:
            result = await self._looked(key, found)
        self._metrics.visited(result, asyncio.get_running_loop().time() - started)

    async def _looked(self, key: Key, found: Reconciled | None) -> str:
        """Count what was recorded, also by a look of which not all could be done."""
        if found is not None:
            self._metrics.recorded(key, found.before, found.status)
        if found is None or found.error is None:
            return self._succeeded(key, found)
        conflict = isinstance(found.error, Conflict)
        return await self._conflict(key, found.error) if conflict else await self._failed(key, found.error)

    def _succeeded(self, key: Key, found: Reconciled | None) -> str:
        self._undated.discard(key)
        if self._troubles.pop(key, None):
            log.info("%s/%s: visits succeed again", *key)
        self._queue.done(key)
        if found is None:
            self._metrics.gone(key)
            return "gone"
        if found.plan.look_again is not None:
            self._queue.wake(key, found.plan.look_again)
        elif not found.plan.finished:
            self._undated.add(key)
        return "done"

    async def _conflict(self, key: Key, error: ClusterError) -> str:
        """Somebody wrote in between: look again at once, and later where that happens again and again."""
        if key in self._troubles and self._troubles[key].kind in RACES:
            self._queue.failed(key)
        else:
            self._queue.done(key)
            self._queue.wake(key)
        log.debug("%s/%s: %s", *key, error)
        if self._met(key, type(error).__name__, str(error)).lasts:
            await self._told(key, error)
        return "conflict"

    async def _failed(self, key: Key, error: Exception) -> str:
        kind = kind_of(error)
        self._metrics.error(kind)
        again = self._queue.failed(key, error.retry_after if isinstance(error, Unavailable) else None)
        words, before = f"{kind}: {error}", self._troubles.get(key)
        trouble = self._met(key, kind, words)
        if before is None or before.words != words:
            log.error("%s/%s: %s; looked at again in %.0f s", *key, words, again, exc_info=error if kind == "Bug" else None)
        if isinstance(error, Forbidden | Invalid) or trouble.lasts:
            await self._told(key, error)
        return kind.lower()

    async def _told(self, key: Key, error: Exception) -> None:
        try:
            await self._tell(key, error)
        except Exception as failure:  # noqa: BLE001 - what cannot be told now is tried again with the next failure
            log.debug("%s/%s: not told: %s", *key, failure)

    def _met(self, key: Key, kind: str, words: str) -> _Trouble:
        """Note a trouble. It began when looks at the run began to fail, whatever they failed by."""
        before = self._troubles.get(key)
        since = before.since if before else asyncio.get_running_loop().time()
        self._troubles[key] = trouble = _Trouble(kind, words, since)
        return trouble
