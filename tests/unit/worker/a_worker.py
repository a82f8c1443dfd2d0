"""A worker of a sampled stage as a process of its own: `python a_worker.py STORE SLOT SLOTS CONCURRENCY ROWS RETRY KILLER…`.

Rows named as killers end the process at once, as a fault of the machine would. From row N on, `hang-N` has them wait for the end.
Exit codes are the stage program's.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from rehearsal.api.messages import Progress, StageError, Usage
from rehearsal.store.commit import Artifact
from rehearsal.store.folder import FolderStore
from rehearsal.worker.__main__ import _terminated
from rehearsal.worker.sharding import Sharding
from rehearsal.worker.shards import Filling, Left, Made, Slot, Work

HANG = "hang-"
PER_SHARD = 2


def output_in(folder: Path) -> Artifact:
    store = FolderStore(folder)
    store.prepare()
    return Artifact(store, "research", "respond", "f" * 64, "respond-peer")


Produce = Callable[[int, int], Awaitable[Made]]


def quiet(*_figures: float) -> None:
    """Is told, and says nothing."""


def filling_of(store: Path, rows: int, produce: Produce, slot: Slot, retry: str = "", left: Left = quiet) -> Filling[int]:
    sharding = Sharding(rows=rows, per_shard=PER_SHARD)
    return Filling(output_in(store), Work(rows, range), sharding, produce, slot, quiet, left, retry)


def tell(done: int, total: int, dropped: int) -> None:
    print(Progress(done=done, total=total, dropped=dropped).model_dump_json(by_alias=True), flush=True)


def main(store: str, slot: str, slots: str, concurrency: str, rows: str, retry: str, *killers: str) -> int:
    signal.signal(signal.SIGTERM, _terminated)

    hangs = min((int(killer.removeprefix(HANG)) for killer in killers if killer.startswith(HANG)), default=int(rows))

    async def produce(index: int, _item: int) -> Made:
        if index >= hangs:
            print("hanging", flush=True)
            await asyncio.sleep(60)
        await asyncio.sleep(0)
        if str(index) in killers:
            os._exit(137)
        return {"id": index}, Usage()

    where = Slot(int(slot), int(slots), int(concurrency))
    try:
        asyncio.run(filling_of(Path(store), int(rows), produce, where, retry, tell).run())
    except StageError as error:
        print(f"{error.reason}: {error}", file=sys.stderr)
        return error.code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
