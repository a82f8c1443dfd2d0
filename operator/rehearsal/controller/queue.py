"""The keyed queue between what happens in a cluster and whoever looks at it: wakes coalesce, delays and back-off are the queue's.

Pure asyncio: time is that of the running loop.
"""

import asyncio
import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass

Key = tuple[str, str]
"""A run: namespace, name."""

FIRST_RETRY, LAST_RETRY = 1.0, 300.0
"""Seconds to wait after the first failure in a row, and at most."""


@dataclass
class _Failures:
    """How often a key failed in a row, and the loop time before which nothing wakes it."""

    count: int = 0
    not_before: float = 0.0


class Queue:
    """Keys in the order in which they fall due, each with one holder at a time.

    A key is waited for by `take`, and held until `done` or `failed`. A wake of a held key takes effect when it is let go.
    """

    def __init__(self, jitter: Callable[[], float] = random.random) -> None:
        self._jitter = jitter
        self._due: dict[Key, float] = {}
        self._order: list[tuple[float, int, Key]] = []
        self._held: set[Key] = set()
        self._failures: dict[Key, _Failures] = {}
        self._serial = itertools.count()
        self._stirred = asyncio.Event()
        self._closed = False

    def wake(self, key: Key, after: float = 0.0) -> None:
        """Ask for a look at a key in that many seconds. Of several wakes the earliest counts; none cuts a refusal's wait short."""
        not_before = self._failures[key].not_before if key in self._failures else 0.0
        due = max(_now() + after, not_before)
        if due >= self._due.get(key, float("inf")):
            return
        self._due[key] = due
        self._enqueue(key)

    async def take(self) -> Key | None:
        """Return the key that is due for longest, once one is, and hold it; None when the queue is closed."""
        while not self._closed:
            if (key := self._first_due()) is not None:
                del self._due[key]
                self._held.add(key)
                return key
            self._stirred.clear()
            try:
                async with asyncio.timeout_at(self._order[0][0] if self._order else None):
                    await self._stirred.wait()
            except TimeoutError:
                continue
        return None

    def close(self) -> None:
        """Hand out no more keys."""
        self._closed = True
        self._stirred.set()

    def done(self, key: Key) -> None:
        """Let a key go; its failures are forgotten."""
        self._failures.pop(key, None)
        self._let_go(key)

    def failed(self, key: Key, retry_after: float | None = None) -> float:
        """Let a key go and wake it again after a jittered back-off; returns the seconds until then.

        `retry_after` is the least wait that was asked for. Until it is over nothing wakes the key; without one a wake
        brings the next look forward, yet never to within the first back-off, so that a failure cannot spin.
        """
        failures = self._failures.setdefault(key, _Failures())
        delay = min(FIRST_RETRY * 2.0**failures.count, LAST_RETRY) * (0.5 + 0.5 * self._jitter())
        if retry_after is not None:
            delay = max(delay, retry_after + FIRST_RETRY * self._jitter())
        failures.count = min(failures.count + 1, 32)
        failures.not_before = _now() + min(delay, max(retry_after or 0.0, FIRST_RETRY))
        if key in self._due:
            self._due[key] = max(self._due[key], failures.not_before)
        self.wake(key, delay)
        self._let_go(key)
        return delay

    def depth(self) -> int:
        """Return how many keys are due and held by nobody."""
        now = _now()
        return sum(due <= now and key not in self._held for key, due in self._due.items())

    def _let_go(self, key: Key) -> None:
        self._held.discard(key)
        if key in self._due:
            self._enqueue(key)

    def _enqueue(self, key: Key) -> None:
        heapq.heappush(self._order, (self._due[key], next(self._serial), key))
        self._stirred.set()

    def _first_due(self) -> Key | None:
        """Drop entries that an earlier wake or a holder overtook, and take the first one off the order if it is due."""
        while self._order:
            due, _, key = self._order[0]
            if key in self._held or self._due.get(key) != due:
                heapq.heappop(self._order)
            elif due <= _now():
                heapq.heappop(self._order)
                return key
            else:
                return None
        return None


def _now() -> float:
    return asyncio.get_running_loop().time()
