"""A folder as the object store: on this machine, or on a shared file system that has hard links.

Not covered: an object and a prefix of other objects cannot have the same key, as they can in S3; and whoever may write to
the folder is trusted not to place a symlink between a key's check and its use.
"""

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

from rehearsal.store.checksums import Checksums, accounted, sha256_of
from rehearsal.store.filesystem import PERMISSION, reading, writing
from rehearsal.store.keys import is_key
from rehearsal.store.objects import Denied, NotFound, Stat, StoreError

TEMPORARY, CHECKSUMS = ".tmp", ".checksums"
READ_ONLY = 0o444
CHUNK = 1 << 20


class FolderStore:
    """Objects as read-only files under `root`. A full or broken disk is the plain OSError."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._checksums = Checksums(self.root / CHECKSUMS)

    def get(self, key: str) -> bytes:
        """Return an object's bytes, or raise NotFound."""
        path = self._path(key)
        with reading(key, path):
            return path.read_bytes()

    def start(self, key: str, size: int) -> bytes:
        """Return an object's first `size` bytes, or all that there are, or raise NotFound."""
        path = self._path(key)
        with reading(key, path), path.open("rb") as file:
            return file.read(size)

    def create(self, key: str, data: bytes) -> bool:
        """Create the object if the key is free and return whether this call did; exactly one of many racers does."""
        path = self._path(key)
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._written([data]) as temporary:
                try:
                    os.link(temporary, path)
                except FileExistsError:
                    return False
            _sync(path.parent)
        return True

    def put(self, key: str, data: bytes) -> None:
        """Write the object, whatever was there."""
        path = self._path(key)
        with writing(path), self._written([data]) as temporary:
            _move(temporary, path)

    def upload(self, key: str, path: Path) -> str:
        """Write a file's bytes as the object and return their SHA-256 in hex, read back from what was stored."""
        target = self._path(key)
        digest = hashlib.sha256()
        with path.open("rb") as source, writing(target), self._written(accounted(_chunks(source), digest)) as temporary:
            stored = sha256_of(temporary)
            if stored != digest.hexdigest():
                raise StoreError(f"{target} did not come back from the disk as it was written")
            _move(temporary, target)
            self._checksums.remember(target, stored)
        return stored

    def download(self, key: str, path: Path) -> str:
        """Bring an object to a local file that must not be written to afterwards: where that works it is the same file.

        Returns the SHA-256 of the bytes, read from the file itself and never from what is remembered of it.
        """
        source = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        with reading(key, source):
            try:
                os.link(source, path)
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.EMLINK, errno.EOPNOTSUPP, *PERMISSION):
                    raise
                shutil.copyfile(source, path)
            return sha256_of(path)

    def stat(self, key: str) -> Stat:
        """Return size and checksum, or raise NotFound. A file is read for it once, not again until it changes."""
        path = self._path(key)
        with reading(key, path):
            size, sha256 = self._checksums.of(path)
        return Stat(key, size, sha256)

    def list(self, prefix: str) -> Iterator[str]:
        """Yield the keys that start with the prefix, sorted. Folders that are symlinks are not entered."""
        parent = prefix.rpartition("/")[0]
        folder = self._path(parent) if parent else self.root
        return self._walk(folder, f"{parent}/" if parent else "", prefix)

    def prepare(self) -> None:
        """Make the folder if there is none, and prove that it takes files and hard links, as creation needs; else Denied."""
        with writing(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            with self._written([]) as temporary:
                link = temporary.with_name(f"{temporary.name}-link")
                os.link(temporary, link)
                link.unlink()

    def sweep(self, before: float) -> None:
        """Remove what writers that were killed left behind, last written to before that time (seconds since 1970)."""
        for path in (self.root / TEMPORARY).glob("*"):
            with writing(path), suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    path.unlink()

    def _path(self, key: str) -> Path:
        if not is_key(key) or key.partition("/")[0] in (TEMPORARY, CHECKSUMS):
            raise Denied(f"{key!r} cannot be a key of the store: use a relative path without empty, `.` or `..` parts")
        path = Path(os.path.realpath(self.root / key))
        if not path.is_relative_to(self.root):
            raise Denied(f"{key} leads through a symlink out of the store {self.root}: copy the files into the store instead")
        return path

    @contextmanager
    def _written(self, chunks: Iterable[bytes]) -> Iterator[Path]:
        """Lend a file with these bytes, safe on the disk, on the store's own file system; it is gone afterwards."""
        folder = self.root / TEMPORARY
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / secrets.token_hex(16)
        try:
            # Read-only, so that whoever got a hard link from `download` does not change the store by mistake.
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, READ_ONLY), "wb") as file:
                file.writelines(chunks)
                file.flush()
                os.fsync(file.fileno())
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _walk(self, folder: Path, parent: str, prefix: str) -> Iterator[str]:
        for key, entry in _entries(folder, parent):
            if not parent and entry.name in (TEMPORARY, CHECKSUMS):
                continue
            if key.endswith("/"):
                if key.startswith(prefix) or prefix.startswith(key):
                    yield from self._walk(Path(entry.path), key, prefix)
            elif key.startswith(prefix) and entry.is_file():
                yield key


def _entries(folder: Path, parent: str) -> list[tuple[str, os.DirEntry[str]]]:
    """Return (key, entry) of what is in a folder. Folders' keys end in a slash, which sorts them as the keys below them."""
    try:
        with reading(parent, folder), os.scandir(folder) as entries:
            found = [(f"{parent}{e.name}{'/' if e.is_dir(follow_symlinks=False) else ''}", e) for e in entries]
    except NotFound:
        return []
    return sorted(found, key=lambda pair: pair[0])


def _chunks(source: BinaryIO) -> Iterator[bytes]:
    return iter(partial(source.read, CHUNK), b"")


def _move(temporary: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary.replace(path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    """Make a new name in the folder outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
