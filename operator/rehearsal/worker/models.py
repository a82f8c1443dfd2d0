"""Models in the store: their digest, what makes one unfit to be served, and how one is brought to a pod.

Not covered: weights that are safetensors and yet harmful, and a template that does not fit its weights.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from rehearsal.api.messages import CorruptInput, Refused
from rehearsal.pipeline.fingerprint import digest
from rehearsal.prompts.chat import ChatTokenizer
from rehearsal.store.checksums import sha256_of
from rehearsal.store.objects import Objects
from rehearsal.worker.context import Context
from rehearsal.worker.inputs import key_of

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
INDEX = "model.safetensors.index.json"
WEIGHTS = ".safetensors"


def model_digest(objects: Objects, uri: str) -> str:
    """Return the SHA-256 over (relative path, the store's own SHA-256) of a model's files. No weight is read."""
    return _digest(_files(objects, uri))


def check_model(objects: Objects, uri: str, field: str) -> None:
    """Refuse, by field and file, a model that is incomplete or could run code when it is loaded."""
    names = sorted(_files(objects, uri))
    if not names:
        raise _unusable(field, uri, "there is no such model in the store; upload it, or correct the path")
    for name in names:
        if name.endswith(PICKLES):
            raise _unusable(field, f"{uri}/{name}", "pickle files can run code; convert the weights to safetensors and remove it")
        if name.endswith(".py"):
            raise _unusable(field, f"{uri}/{name}", "a model may not bring code; use a model that its library knows, and remove it")
    for name in ("config.json", "tokenizer.json"):
        if name not in names:
            raise _unusable(field, f"{uri}/{name}", "is missing; upload the whole model folder")
    for name in names:
        if name.endswith("config.json") and "auto_map" in _json(objects, uri, name, field):
            raise _unusable(field, f"{uri}/{name}", "auto_map names code to run; use a model that its library knows")
    _check_weights(objects, uri, field, names)


def bring_model(objects: Objects, uri: str, pinned: str, into: Path, weights: bool = True) -> None:
    """Bring a model's files to a folder, each checked; CorruptInput when it is not the one that the run is pinned to.

    Without `weights` only what lies beside them comes: configuration, tokenizer, chat template.
    """
    files = _files(objects, uri)
    if _digest(files) != pinned:
        raise CorruptInput(f"{uri} changed after preflight looked at it; run again to use it as it is now", "InputChanged")
    for name, sha256 in files.items():
        if weights or not name.endswith(WEIGHTS):
            _bring(objects, f"{key_of(uri)}/{name}", sha256, into / name)


def fetch_tokenizer(context: Context, label: str = "model") -> ChatTokenizer:
    """Return the tokenizer of the model read under that label; its files come to scratch, its weights do not."""
    uri, pinned = context.external(label)
    folder = context.scratch / f"tokenizer-{label}"
    bring_model(context.objects, uri, pinned, folder, weights=False)
    return ChatTokenizer.load(folder)


def _bring(objects: Objects, key: str, sha256: str, path: Path) -> None:
    """A file has its name only once it is whole and checked; one that has it already is not brought again."""
    if path.exists() and sha256_of(path) == sha256:
        return
    partial = path.with_name(f".{path.name}.partial")
    objects.download(key, partial)
    if sha256_of(partial) != sha256:
        partial.unlink()
        raise CorruptInput(f"{key} is not what the store's checksum says; upload the model again", "DigestMismatch")
    partial.replace(path)


def _files(objects: Objects, uri: str) -> dict[str, str]:
    """Return relative path -> SHA-256 of every file of a model, sorted."""
    prefix = f"{key_of(uri)}/"
    return {key.removeprefix(prefix): objects.stat(key).sha256 for key in objects.list(prefix)}


def _digest(files: Mapping[str, str]) -> str:
    return digest([[name, sha256] for name, sha256 in sorted(files.items())])


def _check_weights(objects: Objects, uri: str, field: str, names: list[str]) -> None:
    if not any(name.endswith(WEIGHTS) for name in names):
        raise _unusable(field, uri, "holds no safetensors file; convert the weights to safetensors")
    if INDEX not in names:
        return
    parts = _json(objects, uri, INDEX, field).get("weight_map")
    if not isinstance(parts, dict):
        raise _unusable(field, f"{uri}/{INDEX}", "has no weight_map; upload the model again")
    if missing := sorted({str(part) for part in parts.values()} - set(names)):
        raise _unusable(field, f"{uri}/{missing[0]}", f"is named by {INDEX} and missing; upload the whole model folder")


def _json(objects: Objects, uri: str, name: str, field: str) -> dict[str, object]:
    try:
        found = json.loads(objects.get(f"{key_of(uri)}/{name}"))
    except ValueError as error:
        raise _unusable(field, f"{uri}/{name}", "is not JSON; upload the model again") from error
    if not isinstance(found, dict):
        raise _unusable(field, f"{uri}/{name}", "is not a JSON object; upload the model again")
    return found


def _unusable(field: str, what: str, why: str) -> Refused:
    return Refused(f"{field}: {what}: {why}", "ModelUnusable")
