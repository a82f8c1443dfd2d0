"""Seeded orders that are the same on every machine and in every version of Python, unlike `random.shuffle`."""

import hashlib
from array import array
from collections.abc import Sequence


def shuffled(count: int, *seed: str | int) -> Sequence[int]:
    """Return 0..count-1 ordered by the SHA-256 of the seed and each number: four bytes a number, for sets have millions.

    The first n of an order are a draw of n without replacement, and part of every larger draw with the same seed.
    """
    prefix = "/".join(map(str, seed))

    def key(number: int) -> bytes:
        return hashlib.sha256(f"{prefix}/{number}".encode()).digest()

    # One bucket for each first byte: only one is held as keys and objects at a time.
    buckets = [array("I") for _ in range(256)]
    for number in range(count):
        buckets[key(number)[0]].append(number)
    order = array("I")
    for bucket in buckets:
        order.extend(sorted(bucket, key=key))
    return order
