"""What a stage program still does when it is told to end (SIGTERM: a drain, a suspension, a deletion), within its grace."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SECONDS = 10.0
"""Well within the pod's grace of 30 s; who has not done by then is killed like one that was not told."""

_acts: list[Callable[[], None]] = []


@contextmanager
def last_act(act: Callable[[], None]) -> Iterator[None]:
    """Have `act` done, in a thread of its own, if the program is told to end inside this block."""
    _acts.append(act)
    try:
        yield
    finally:
        _acts.remove(act)


def do_last_acts() -> None:
    """Do what is still to be done, as far as the time goes."""
    threads = [threading.Thread(target=act, daemon=True) for act in _acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
