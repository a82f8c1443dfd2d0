"""Large objects travel in parts: a few at a time, their results in order, in memory that does not grow with the object."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")

LANES = 4
"""Parts under way at a time: with the one being read, at most 160 MiB are in memory."""
PART = 32 << 20
MOST_PARTS = 10_000
"""S3's limit to the parts of one upload. Files above 312 GiB have larger parts."""


def part_size(size: int) -> int:
    """Return the bytes of each part, but the last, of an object of that size."""
    return max(PART, -(-size // MOST_PARTS))


def ranges(size: int) -> Iterator[tuple[int, int]]:
    """Yield (first, last) byte of every part of an object, in order; none if it is empty."""
    step = part_size(size)
    return ((start, min(start + step, size) - 1) for start in range(0, size, step))


def in_lanes(calls: Iterable[Callable[[], Result]]) -> Iterator[Result]:
    """Yield the calls' results in order; no call is begun before there is a lane, and a reader, for it."""
    under_way: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(LANES, thread_name_prefix="part") as lanes:
        try:
            for call in calls:
                under_way.append(lanes.submit(call))
                if len(under_way) == LANES:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()
