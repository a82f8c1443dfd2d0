"""A file's SHA-256, computed once. A file is known again by inode, size and time of change, so 140 GB is not read twice.

Not covered: bytes that change under the same three, such as a failing disk's; readers check what they read themselves.
"""

import hashlib
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rehearsal.store.objects import StoreError


def sha256_of(path: Path) -> str:
    """Read the file and return its SHA-256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def accounted(chunks: Iterable[bytes], digest: "hashlib._Hash") -> Iterator[bytes]:
    """Yield the chunks, and account for each in the digest."""
    for chunk in chunks:
        digest.update(chunk)
        yield chunk


@dataclass(frozen=True)
class Checksums:
    """Remembers checksums in small files in a folder. The folder may be lost, or refuse writes: that costs only time."""

    folder: Path

    def of(self, path: Path) -> tuple[int, str]:
        """Return the file's size and SHA-256, remembered or computed; StoreError if it changes meanwhile."""
        known = path.stat()
        with suppress(OSError, UnicodeDecodeError):
            remembered = self._entry(known).read_text()
            if re.fullmatch("[0-9a-f]{64}", remembered):
                return known.st_size, remembered
        sha256 = sha256_of(path)
        if _identity(path.stat()) != _identity(known):
            raise StoreError(f"{path} changed while it was read")
        self._write(known, sha256)
        return known.st_size, sha256

    def remember(self, path: Path, sha256: str) -> None:
        """Keep a checksum that the caller has just verified."""
        self._write(path.stat(), sha256)

    def _write(self, known: os.stat_result, sha256: str) -> None:
        entry = self._entry(known)
        fresh = entry.with_name(secrets.token_hex(16))
        with suppress(OSError):
            self.folder.mkdir(exist_ok=True)
            fresh.write_text(sha256)
            fresh.replace(entry)

    def _entry(self, known: os.stat_result) -> Path:
        return self.folder / _identity(known)


def _identity(known: os.stat_result) -> str:
    return f"{known.st_ino:x}-{known.st_size:x}-{known.st_mtime_ns:x}"
