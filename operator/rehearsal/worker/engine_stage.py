"""What the stages that ask an engine share: the seal comes first, then the engine, then shards until none is left."""

import asyncio
import hashlib
import os
from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

from rehearsal.api.messages import Refused, Usage
from rehearsal.inference.client import Engine, connect
from rehearsal.pipeline.fingerprint import served_model_name
from rehearsal.worker.context import Context, Outcome, log
from rehearsal.worker.shards import Filling, Made, Slot, Work

Item = TypeVar("Item")


class Program(Protocol[Item]):
    """A stage that asks an engine, ready to work: its rows, and how one is made of its input."""

    @property
    def work(self) -> Work[Item]:
        """The rows of the stage."""
        ...

    async def produce(self, engine: Engine, index: int, item: Item) -> Made:
        """Return one row and what it consumed."""
        ...


def run_on_engine(context: Context, prepare: Callable[[Context], Program[Item]]) -> Outcome:
    """Return the stage's seal. Nothing is prepared where it is there; the engine is waited for only if a shard is missing."""
    if sealed := context.output.manifest():
        return Outcome(sealed)
    program = prepare(context)
    shards, usage = program.work.shards, Usage()
    if len(context.output.commits(shards)) < shards:
        usage = asyncio.run(_generate(context, program))
    return Outcome(context.output.seal(shards), usage)


def row_seed(fingerprint: str, index: int) -> int:
    """Return the seed of a row's request: 31 bits of the SHA-256 of stage and row, so that no two stages draw alike."""
    return int(hashlib.sha256(f"{fingerprint}/{index}".encode()).hexdigest()[:8], 16) & 0x7FFF_FFFF


async def _generate(context: Context, program: Program[Item]) -> Usage:
    model = served_model_name(context.stage, context.task.inputs, context.fingerprints)
    url = engine_url()
    log(f"waiting for the engine at {url}")
    async with connect(url, model, max_model_len(context)) as engine:
        slot = Slot(context.slot, context.task.slots, context.task.limits.concurrency)
        return await Filling(context.output, program.work, partial(program.produce, engine), slot, partial(_report, context)).run()


def max_model_len(context: Context) -> int:
    """Return how many tokens the stage's engine takes, prompt and answer together."""
    if context.stage.serving is None:
        raise Refused(f"{context.stage.name} has no engine: use images of the same release", "ReleaseMismatch")
    return context.stage.serving.max_model_len


def room_for(max_tokens: int, prompt: int, longest: int) -> int:
    """Return how many tokens an answer may have after a prompt of that length; less than 1 where there is no room."""
    return min(max_tokens, longest - prompt)


def engine_url() -> str:
    """Return the address of the engine beside this client."""
    try:
        return f"http://127.0.0.1:{int(os.environ['ENGINE_PORT'])}"
    except (KeyError, ValueError) as error:
        raise Refused(
            "ENGINE_PORT must hold the engine's port on localhost: the Job's manifest sets it", "ReleaseMismatch"
        ) from error


def _report(context: Context, done: int, total: int, rows_per_second: float, tokens_per_second: float) -> None:
    context.progress(done, total, per_second=rows_per_second, tokens_per_second=tokens_per_second)
