"""A worker of a sampled stage as a process of its own: `python a_worker.py STORE SLOT SLOTS CONCURRENCY ROWS RETRY KILLER…`.

Rows named as killers end the process at once, as a fault of the machine would. A row named `hang` waits to be told to end.
Exit codes are the stage program's.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from rehearsal.api.messages import StageError, Usage
from rehearsal.store.commit import Artifact
from rehearsal.store.folder import FolderStore
from rehearsal.worker.__main__ import _terminated
from rehearsal.worker.shards import Filling, Made, Slot, Work

HANG = "hang"
PER_SHARD = 2


def output_in(folder: Path) -> Artifact:
    store = FolderStore(folder)
    store.prepare()
    return Artifact(store, "research", "respond", "f" * 64, "respond-peer")


def work_of(rows: int) -> Work[int]:
    return Work(rows, range, PER_SHARD)


def main(store: str, slot: str, slots: str, concurrency: str, rows: str, retry: str, *killers: str) -> int:
    signal.signal(signal.SIGTERM, _terminated)

    async def produce(index: int, _item: int) -> Made:
        if HANG in killers:
            print("hanging", flush=True)
            await asyncio.sleep(60)
        await asyncio.sleep(0)
        if str(index) in killers:
            os._exit(137)
        return {"id": index}, Usage()

    where = Slot(int(slot), int(slots), int(concurrency))
    try:
        asyncio.run(Filling(output_in(Path(store)), work_of(int(rows)), produce, where, lambda *_: None, retry).run())
    except StageError as error:
        print(f"{error.reason}: {error}", file=sys.stderr)
        return error.code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
