"""How fast rows and tokens come, lately."""

import time
from collections import deque
from collections.abc import Callable

WINDOW_SECONDS = 30.0


class Pace:
    """Counts over a sliding window; the rates of an engine that has just started are those since its first row."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._samples: deque[tuple[float, int, int]] = deque()
        self._rows = self._tokens = 0
        self._started = clock()

    def add(self, rows: int, tokens: int) -> None:
        """Count what was just done."""
        self._samples.append((self._clock(), rows, tokens))
        self._rows += rows
        self._tokens += tokens

    def rates(self) -> tuple[float, float]:
        """Return (rows, tokens) a second."""
        now = self._clock()
        while self._samples and self._samples[0][0] < now - WINDOW_SECONDS:
            _, rows, tokens = self._samples.popleft()
            self._rows -= rows
            self._tokens -= tokens
        seconds = min(WINDOW_SECONDS, now - self._started)
        return (self._rows / seconds, self._tokens / seconds) if seconds > 0 else (0.0, 0.0)
