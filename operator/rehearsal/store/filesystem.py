"""What the file system's errors mean to a store. A full or broken disk stays the plain OSError, which ends a worker with 74."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rehearsal.store.objects import Denied, NotFound, StoreError

ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)
PERMISSION = (errno.EACCES, errno.EPERM)
_UNFIT = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EXDEV, errno.EOPNOTSUPP)
_SILENT = (errno.ESTALE, errno.ETIMEDOUT)


@contextmanager
def reading(key: str, path: Path) -> Iterator[None]:
    """Turn what reading an object raises into NotFound, Denied or StoreError."""
    try:
        yield
    except OSError as error:
        if error.errno in ABSENT:
            raise NotFound(key) from error
        raise _named(error, "read", path) from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what writing to the store raises into Denied or StoreError."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise StoreError(f"a folder above {path} went away while it was written") from error
        raise _named(error, "write", path) from error


def _named(error: OSError, action: str, path: Path) -> Exception:
    where, what = error.filename or path, f"{error.strerror}"
    if error.errno in PERMISSION:
        return Denied(
            f"cannot {action} {where}: {what}; give user {os.geteuid()} the right to {action} there, "
            "or name another folder as the store (it must be on a file system with hard links)"
        )
    if error.errno in _UNFIT:
        return Denied(f"cannot {action} {where}: {what}; rename or move what is there, or name another folder as the store")
    if error.errno in _SILENT:
        return StoreError(f"cannot {action} {where}: {what}")
    return error
