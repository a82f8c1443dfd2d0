"""The sweep: at regular intervals everything is listed anew, so that every run comes right even if no event ever arrives.

Its age is the operator's liveness: a process that cannot complete a sweep for long is no use, whatever its watches do.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from rehearsal.cluster.port import Forbidden, Unavailable
from rehearsal.controller.metrics import Metrics
from rehearsal.controller.queue import FIRST_RETRY, Key
from rehearsal.controller.why import kind_of

LONGEST_SECONDS = 300.0
"""A sweep that takes longer hangs, and is begun anew."""
STALE_SECONDS = 900.0
"""An API server may be away for ten minutes without a restart of ours."""

log = logging.getLogger(__name__)


class Sweep:
    """Sweeps, one after the other. `refresh` lists anew and returns the keys whose world changed; `undated` those without a date."""

    def __init__(
        self,
        refresh: Callable[[], Awaitable[Iterable[Key]]],
        undated: Callable[[], Iterable[Key]],
        wake: Callable[[Key], None],
        every: float,
        metrics: Metrics,
    ) -> None:
        self._refresh, self._undated, self._wake = refresh, undated, wake
        self._every, self._metrics = every, metrics
        self._ended = _now()
        self._failures = 0
        self._trouble = ""
        self.swept = asyncio.Event()
        """Set once the first sweep is complete."""
        metrics.sweep_age(self.age)

    def age(self) -> float:
        """Return the seconds since the last complete sweep ended; before the first one, since the start."""
        return _now() - self._ended

    @property
    def alive(self) -> bool:
        """Sweeps complete."""
        return self.age() < STALE_SECONDS

    async def run(self) -> None:
        """Sweep for ever."""
        while True:
            await asyncio.sleep(await self.once())

    async def once(self) -> float:
        """Sweep once, and return the seconds until the next sweep is due."""
        started = _now()
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                changed = await self._refresh()
        except Exception as error:  # noqa: BLE001 - the sweep is what everything else relies on
            return self._failed(error)
        for key in {*changed, *self._undated()}:
            self._wake(key)
        self._ended = _now()
        self._metrics.swept(self._ended - started)
        if self._trouble:
            log.info("sweeps complete again")
        self._failures, self._trouble = 0, ""
        self.swept.set()
        return max(self._every - (self._ended - started), 0.0)

    def _failed(self, error: Exception) -> float:
        kind = kind_of(error)
        self._metrics.error(kind)
        words = f"{kind}: {error}"
        if words != self._trouble:
            expected = isinstance(error, Forbidden | Unavailable | TimeoutError)
            log.error("sweep: %s", words, exc_info=None if expected else error)
        self._trouble = words
        asked = error.retry_after if isinstance(error, Unavailable) else None
        delay = max(min(FIRST_RETRY * 2.0**self._failures, self._every), asked or 0.0)
        self._failures = min(self._failures + 1, 32)
        return delay


def _now() -> float:
    return asyncio.get_running_loop().time()
