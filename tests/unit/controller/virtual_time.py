"""Virtual time for asyncio: while nothing is ready to run, the clock jumps to the next timer. An hour of waiting takes no time.

For code that only waits for timers and for other tasks, not for sockets or threads.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any


class _Jump(selectors.SelectSelector):
    """Never waits: the time it was to wait for is added to the clock."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("everything waits for everything else: nothing can ever happen again")
        self.now += max(timeout, 0.0)
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now


def virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test in virtual time, which starts at 0."""

    @wraps(test)
    def run(*args: Any, **fixtures: Any) -> None:
        with asyncio.Runner(loop_factory=_Loop) as runner:
            runner.run(test(*args, **fixtures))

    return run


def now() -> float:
    return asyncio.get_running_loop().time()
