"""The keyed queue between what happens in a cluster and whoever looks at it: wakes coalesce, delays and back-off are the queue's.

News comes before looks by the clock. Pure asyncio: time is that of the running loop.
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
BY_CLOCK = 2
"""Looks by the clock that may go on at once, of all workers' looks."""


@dataclass
class _Failures:
    """How often a key failed in a row, and the loop time before which nothing wakes it."""

    count: int = 0
    not_before: float = 0.0


class Queue:
    """Keys, each with one holder at a time: those with news in the order in which it came, and those whose time has come.

    At a thousand runs most looks are by the clock (how far is it, why does it wait), and none of them is urgent. One of them always
    has its turn, and no more than BY_CLOCK: a Job's end does not wait behind the others, and a slow API server slows them, not it.

    A key is waited for by `take`, and held until `done` or `failed`. A wake of a held key takes effect when it is let go.
    """

    def __init__(self, jitter: Callable[[], float] = random.random) -> None:
        self._jitter = jitter
        self._news: dict[Key, None] = {}
        self._dates: dict[Key, float] = {}
        self._calendar: list[tuple[float, int, Key]] = []
        self._held: dict[Key, bool] = {}
        """By the clock, or for news."""
        self._failures: dict[Key, _Failures] = {}
        self._serial = itertools.count()
        self._stirred = asyncio.Event()
        self._closed = False

    def wake(self, key: Key, after: float = 0.0) -> None:
        """Ask for a look at a key in that many seconds. Of several wakes the earliest counts; none cuts a refusal's wait short."""
        if key in self._news:
            return
        not_before = self._failures[key].not_before if key in self._failures else 0.0
        due = max(_now() + after, not_before)
        if due <= _now():
            self._dates.pop(key, None)
            self._news[key] = None
            self._stirred.set()
        elif due < self._dates.get(key, float("inf")):
            self._date(key, due)

    async def take(self) -> Key | None:
        """Return the key whose turn it is, once there is one, and hold it; None when the queue is closed."""
        while not self._closed:
            if (key := self._next()) is not None:
                return key
            self._stirred.clear()
            free = sum(self._held.values()) < BY_CLOCK
            try:
                async with asyncio.timeout_at(self._calendar[0][0] if self._calendar and free else None):
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
        if key in self._news or self._dates.get(key, float("inf")) < failures.not_before:
            self._news.pop(key, None)
            self._date(key, failures.not_before)
        self.wake(key, delay)
        self._let_go(key)
        return delay

    def depth(self) -> int:
        """Return how many keys are due and held by nobody."""
        due = [*self._news, *(key for key, date in self._dates.items() if date <= _now())]
        return sum(key not in self._held for key in due)

    def _let_go(self, key: Key) -> None:
        self._held.pop(key, None)
        if key in self._dates:
            self._date(key, self._dates[key])
        self._stirred.set()

    def _date(self, key: Key, due: float) -> None:
        self._dates[key] = due
        heapq.heappush(self._calendar, (due, next(self._serial), key))
        self._stirred.set()

    def _next(self) -> Key | None:
        """Choose between the first look by the clock and the first news, and hold what is chosen."""
        dated = self._first_date()
        fresh = next((key for key in self._news if key not in self._held), None)
        by_clock = sum(self._held.values())
        if dated is not None and (by_clock == 0 or (fresh is None and by_clock < BY_CLOCK)):
            del self._dates[dated]
            self._held[dated] = True
            return dated
        if fresh is not None:
            del self._news[fresh]
            self._held[fresh] = False
        return fresh

    def _first_date(self) -> Key | None:
        """Drop entries that an earlier wake or a holder overtook, and return the first key of the calendar if it is due."""
        while self._calendar:
            due, _, key = self._calendar[0]
            if key in self._held or self._dates.get(key) != due:
                heapq.heappop(self._calendar)
            else:
                return key if due <= _now() else None
        return None


def _now() -> float:
    return asyncio.get_running_loop().time()
