"""Opens the store that the platform names, and refuses one that cannot hold a run before anything is written to it."""

import time
from pathlib import Path

from rehearsal.api.messages import Refused
from rehearsal.api.platform import StoreConfig
from rehearsal.store.folder import FolderStore
from rehearsal.store.objects import Objects

ABANDONED_SECONDS = 86_400
"""A file that its writer has not touched for a day has no writer any more."""


def open_store(config: StoreConfig) -> Objects:
    """Return the store, ready for reading and writing. A folder that is missing is made; Denied says what keeps it from use."""
    if config.folder is None:
        raise Refused("stores[].s3 is not carried out yet: name a `folder` as the store", "NotAvailable")
    store = FolderStore(Path(config.folder.path))
    store.prepare()
    store.sweep(time.time() - ABANDONED_SECONDS)
    return store
