"""What the stages share that ask a model for every row: the seal comes first, then the model, then shards until none is left."""

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Protocol, TypeVar

from rehearsal.api.messages import Usage
from rehearsal.worker.context import Context, Outcome, log
from rehearsal.worker.sharding import Sharding, sharding_of
from rehearsal.worker.shards import Filling, Made, Slot, Work

Item = TypeVar("Item")
Client = TypeVar("Client")
Client_contra = TypeVar("Client_contra", contravariant=True)


class Program(Protocol[Client_contra, Item]):
    """A stage that asks a model, ready to work: its rows, and how one is made of its input."""

    @property
    def work(self) -> Work[Item]:
        """The rows of the stage."""
        ...

    async def produce(self, client: Client_contra, index: int, item: Item) -> Made:
        """Return one row and what it consumed."""
        ...


def run_sampled(
    context: Context,
    prepare: Callable[[Context], Program[Client, Item]],
    connected: Callable[[Context], AbstractAsyncContextManager[Client]],
    concurrency: int,
) -> Outcome:
    """Return the stage's seal. Nothing is prepared where it is there; the model is waited for only if a shard is missing."""
    if sealed := context.output.manifest():
        return Outcome(sealed)
    program = prepare(context)
    sharding = sharding_of(context.output, program.work.rows)
    shards, usage = sharding.shards, Usage()
    if len(context.output.commits(shards)) < shards:
        usage = asyncio.run(_generate(context, program, sharding, connected, concurrency))
    if missing := shards - len(context.output.commits(shards)):
        log(f"{missing} shards are left to the slots that are at them")
        return Outcome(None, usage)
    return Outcome(context.output.seal(shards), usage)


def row_seed(fingerprint: str, index: int) -> int:
    """Return the seed of a row's request: 31 bits of the SHA-256 of stage and row, so that no two stages draw alike."""
    return int(hashlib.sha256(f"{fingerprint}/{index}".encode()).hexdigest()[:8], 16) & 0x7FFF_FFFF


async def _generate(
    context: Context,
    program: Program[Client, Item],
    sharding: Sharding,
    connected: Callable[[Context], AbstractAsyncContextManager[Client]],
    concurrency: int,
) -> Usage:
    slot = Slot(context.slot, context.task.slots, concurrency)
    async with connected(context) as client:
        produce, report = partial(program.produce, client), partial(_report, context)
        filling = Filling(context.output, program.work, sharding, produce, slot, report, context.leave, context.spec.retry)
        return await filling.run()


def _report(context: Context, done: int, total: int, rows_per_second: float, tokens_per_second: float) -> None:
    context.progress(done, total, per_second=rows_per_second, tokens_per_second=tokens_per_second)
