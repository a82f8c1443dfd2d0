"""Seeded orders that are the same on every machine and in every version of Python, unlike `random.shuffle`."""

import hashlib


def shuffled(count: int, *seed: str | int) -> list[int]:
    """Return 0..count-1 ordered by the SHA-256 of the seed and each number.

    The first n of an order are a draw of n without replacement, and part of every larger draw with the same seed.
    """
    prefix = "/".join(map(str, seed))
    return sorted(range(count), key=lambda i: hashlib.sha256(f"{prefix}/{i}".encode()).digest())
