"""External data files: brought to scratch, and used only where their bytes are those that the run is pinned to."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from rehearsal.api.messages import CorruptInput, Refused
from rehearsal.pipeline.external import field_of, key_of
from rehearsal.pipeline.sources import external_inputs
from rehearsal.prompts.template import Message
from rehearsal.store.checksums import sha256_of
from rehearsal.store.objects import NotFound
from rehearsal.worker.context import Context


def look_at(context: Context, name: str) -> str:
    """Bring the data file that is the run's external input of that name to scratch; return the SHA-256 of its bytes.

    Preflight pins the run to it. A file that is not in the store is refused by field.
    """
    uri = external_inputs(context.spec)[name]
    try:
        return context.objects.download(key_of(uri), _place(context, name))
    except NotFound:
        field = field_of(context.spec, name)
        raise Refused(f"{field}: there is no {uri} in the store; upload it, or correct the path", "InputMissing") from None


def bring_input(context: Context, name: str) -> Path:
    """Bring the data file that is the run's external input of that name to scratch; CorruptInput when it is not what was pinned."""
    path, pinned = _place(context, name), context.task.inputs[name]
    if path.exists() and sha256_of(path) == pinned:
        return path
    if look_at(context, name) != pinned:
        uri = external_inputs(context.spec)[name]
        raise CorruptInput(f"{uri} changed after preflight looked at it; run again to use it as it is now", "InputChanged")
    return path


def read_input(context: Context, name: str, most: int) -> bytes:
    """Return the bytes of a data file that is what was pinned: of a longer one `most` and one more, for its reader to refuse."""
    with bring_input(context, name).open("rb") as file:
        return file.read(most + 1)


def _place(context: Context, name: str) -> Path:
    return context.scratch / "inputs" / name


def as_messages(turns: Iterable[Mapping[str, str]]) -> list[Message]:
    """Return the turns of a user's row as what the prompts room takes."""
    return [Message(turn["role"], turn["content"]) for turn in turns]
