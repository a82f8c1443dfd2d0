"""What the stages that ask a service behind an endpoint share: its address and key, who it must be, and what it is not sent."""

import json
import os
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial
from typing import TypeVar

from rehearsal.api.messages import Refused
from rehearsal.api.platform import EndpointConfig, endpoint_variable
from rehearsal.inference.chat import Served
from rehearsal.inference.control_strings import ControlStrings
from rehearsal.inference.endpoint import Endpoint, connect_endpoint
from rehearsal.outside.json_text import read_own_json
from rehearsal.worker.context import Context, Outcome
from rehearsal.worker.models import tokenizers_of
from rehearsal.worker.sampled_stage import Program, run_sampled

Item = TypeVar("Item")
NOT_SENT = "control-string"
"""Why a row was kept from a service: its text spells what would be more than text to some model."""


def run_on_endpoint(context: Context, prepare: Callable[[Context], Program[Endpoint, Item]]) -> Outcome:
    """Fill the stage from the service and return its seal."""
    return run_sampled(context, prepare, _connected, _config(context).concurrency)


def control_strings(context: Context, models: Iterable[str]) -> ControlStrings:
    """Return what may not be sent: the well-known control strings, and those of the run's models by these names."""
    own: set[str] = set()
    for model in tokenizers_of(context, models):
        with model:
            own |= {text.strip() for text in model.control_texts}
    return ControlStrings(own)


@asynccontextmanager
async def _connected(context: Context) -> AsyncIterator[Endpoint]:
    config, asked = _config(context), context.stage.endpoint
    if asked is None:
        raise _mismatch(context)
    variable = endpoint_variable(asked.name)
    key = os.environ.get(variable)
    if config.secret and not key:
        raise Refused(f"endpoint {asked.name}: {variable} is empty: mend API_KEY in the Secret {config.secret}", "EndpointKey")
    async with connect_endpoint(asked.name, config.url, asked.model, key, partial(_pinned, context)) as endpoint:
        yield endpoint


def _pinned(context: Context, served: Served) -> Served:
    """Return who answered the stage first, which is written beside its shards: later pods must meet the same one."""
    key = f"{context.output.layout.prefix}/served.json"
    context.objects.create(key, json.dumps(asdict(served)).encode())
    return Served(**read_own_json(context.objects.get(key)))


def _config(context: Context) -> EndpointConfig:
    if context.task.endpoint is None:
        raise _mismatch(context)
    return context.task.endpoint


def _mismatch(context: Context) -> Refused:
    return Refused(f"{context.stage.name} knows no endpoint: use images of the same release", "ReleaseMismatch")
