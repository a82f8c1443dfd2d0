"""The port of an object store: the few operations that the commit protocol needs, and what they promise.

StoreError (69 Unavailable)   the store did not answer; the operation may or may not have happened
NotFound                      no object of that key
Denied (64 Refused)           the store refuses: bucket, key or permission; names the action
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rehearsal.api.messages import Refused, Unavailable


class StoreError(Unavailable):
    """The store did not answer in time, or answered with an error of its own."""

    reason = "StoreUnavailable"


class Denied(Refused):
    """The store understood and refuses."""

    reason = "StoreDenied"


class NotFound(Exception):
    """There is no object of that key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"no object {key} in the store")
        self.key = key


@dataclass(frozen=True)
class Stat:
    """An object as the store lists it. `sha256` (hex) is the store's own checksum of the whole object."""

    key: str
    size: int
    sha256: str


class Objects(Protocol):
    """Keys are relative POSIX paths without empty, `.` or `..` parts. All writes are atomic: whole or not at all."""

    def get(self, key: str) -> bytes:
        """Return an object's bytes, or raise NotFound."""
        ...

    def start(self, key: str, size: int) -> bytes:
        """Return an object's first `size` bytes, or all that there are, or raise NotFound. No checksum covers them."""
        ...

    def create(self, key: str, data: bytes) -> bool:
        """Create the object if the key is free and return whether this call did; exactly one of many racers does."""
        ...

    def put(self, key: str, data: bytes) -> None:
        """Write the object, whatever was there."""
        ...

    def upload(self, key: str, path: Path) -> str:
        """Write a file's bytes as the object and return their SHA-256 in hex, verified against what was stored."""
        ...

    def download(self, key: str, path: Path) -> str:
        """Bring an object to a local file that must not be written to afterwards, or raise NotFound.

        Returns the SHA-256 in hex of the bytes that the file holds, which the caller compares with its pin.
        """
        ...

    def stat(self, key: str) -> Stat:
        """Return size and checksum without reading the object where the store can, or raise NotFound."""
        ...

    def list(self, prefix: str) -> Iterator[str]:
        """Yield the keys that start with the prefix, sorted."""
        ...
