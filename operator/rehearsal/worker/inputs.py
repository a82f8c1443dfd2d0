"""External inputs: where they lie in the store, and the digest a run is pinned to. Read only after the digest is checked."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from rehearsal.api.messages import CorruptInput, Refused
from rehearsal.prompts.template import Message
from rehearsal.store.objects import NotFound, Objects
from rehearsal.worker.context import Context


def key_of(uri: str) -> str:
    """Return the store key that a `store://` URI names."""
    return uri.removeprefix("store://").strip("/")


def file_digest(objects: Objects, uri: str, field: str) -> str:
    """Return the SHA-256 of a data file, by the store's own checksum; a missing one is refused by field."""
    try:
        return objects.stat(key_of(uri)).sha256
    except NotFound:
        raise Refused(f"{field}: there is no {uri} in the store; upload it, or correct the path", "InputMissing") from None


def fetch_file(context: Context, label: str, suffix: str) -> Path:
    """Bring the external file read under that label to scratch, and check it against its pinned digest."""
    uri, pinned = context.external(label)
    if file_digest(context.objects, uri, uri) != pinned:
        raise CorruptInput(f"{uri} changed after preflight looked at it; run again to use it as it is now", "InputChanged")
    path = context.scratch / f"{label.replace('.', '-')}{suffix}"
    context.objects.download(key_of(uri), path)
    return path


def as_messages(turns: Iterable[Mapping[str, str]]) -> list[Message]:
    """Return the turns of a user's row as what the prompts room takes."""
    return [Message(turn["role"], turn["content"]) for turn in turns]
