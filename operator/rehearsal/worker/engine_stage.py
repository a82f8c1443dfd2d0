"""What the stages that ask the engine beside them share: who it must be, where it listens, how much it takes."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from rehearsal.api.messages import Refused
from rehearsal.inference.client import Engine, connect
from rehearsal.pipeline.fingerprint import served_model_name
from rehearsal.worker.context import Context, Outcome, log
from rehearsal.worker.sampled_stage import Program, run_sampled

Item = TypeVar("Item")


def run_on_engine(context: Context, prepare: Callable[[Context], Program[Engine, Item]]) -> Outcome:
    """Fill the stage from the engine and return its seal."""
    return run_sampled(context, prepare, _connected, context.task.limits.concurrency)


@asynccontextmanager
async def _connected(context: Context) -> AsyncIterator[Engine]:
    model = served_model_name(context.stage, context.task.inputs, context.fingerprints)
    url = engine_url()
    log(f"waiting for the engine at {url}")
    async with connect(url, model, max_model_len(context)) as engine:
        yield engine


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
