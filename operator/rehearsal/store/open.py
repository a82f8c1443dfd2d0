"""Opens the store that the platform names, and refuses one that cannot hold a run before anything is written to it."""

import time
from pathlib import Path

from rehearsal.api.platform import S3Store as S3Config
from rehearsal.api.platform import StoreConfig
from rehearsal.store.folder import FolderStore
from rehearsal.store.objects import Objects

ABANDONED_SECONDS = 86_400
"""A file that its writer has not touched for a day has no writer any more."""


def open_store(config: StoreConfig) -> Objects:
    """Return the store, ready for reading and writing. A folder that is missing is made; Denied says what keeps it from use."""
    if config.s3:
        return _bucket(config.s3)
    assert config.folder  # noqa: S101 - a store is one of the two
    store = FolderStore(Path(config.folder.path))
    store.prepare()
    store.sweep(time.time() - ABANDONED_SECONDS)
    return store


def _bucket(config: S3Config) -> Objects:
    from rehearsal.store.s3 import S3Store  # noqa: PLC0415 - boto3 takes half a second to load, and a folder does without it

    store = S3Store(config.bucket, config.prefix, config.endpoint, config.region)
    store.prepare()
    return store
