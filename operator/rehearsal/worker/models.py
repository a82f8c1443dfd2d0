"""Models in the store: their digest, and how one is brought to a pod, whether it was uploaded or a stage sealed it."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from rehearsal.api.messages import CorruptInput
from rehearsal.pipeline.fingerprint import digest
from rehearsal.pipeline.sources import Source, external_inputs, sources_of
from rehearsal.prompts.model import ChatModel
from rehearsal.store.checksums import sha256_of
from rehearsal.store.commit import File
from rehearsal.store.objects import Objects
from rehearsal.worker.context import Context
from rehearsal.worker.model_files import WEIGHTS, Files, check_files, sealed, uploaded, weight_names


def model_digest(objects: Objects, uri: str) -> str:
    """Return the SHA-256 over (relative path, the store's own SHA-256) of a model's files. No weight is read."""
    return _digest(uploaded(objects, uri))


def check_model(objects: Objects, uri: str, field: str) -> None:
    """Refuse, by field and file, a model that is incomplete or could run code when it is loaded."""
    check_files(objects, uploaded(objects, uri), uri, field)


def bring_model(objects: Objects, uri: str, pinned: str, into: Path, weights: bool = True) -> None:
    """Bring a model's files to a folder, each checked; CorruptInput when it is not the one that the run is pinned to.

    Without `weights` only what lies beside them comes: configuration, tokenizer, chat template. Further files of weights, which the
    model's index does not name, never come.
    """
    files = uploaded(objects, uri)
    if _digest(files) != pinned:
        raise CorruptInput(f"{uri} changed after preflight looked at it; run again to use it as it is now", "InputChanged")
    bring_beside(objects, files, into)
    if weights:
        for path in sorted(weight_names(files, lambda name: (into / name).read_bytes(), uri, "the model")):
            _bring(objects, files[path], into / path)


def bring_beside(objects: Objects, files: Files, into: Path) -> None:
    """Bring a model's files but its weights to a folder under their paths, each checked."""
    for path, file in files.items():
        if not path.endswith(WEIGHTS):
            _bring(objects, file, into / path)


def fetch_tokenizer(context: Context, label: str = "model") -> ChatModel:
    """Return the tokenizer of the model read under that label; its files come to scratch, its weights do not."""
    return _tokenizer(context, Source(context.stage.external.get(label), context.stage.inputs.get(label)), label)


def tokenizers_of(context: Context, names: Iterable[str]) -> Iterator[ChatModel]:
    """Yield the tokenizers of the run's models by those names, whether the stage itself reads them or a stage before it did."""
    models = sources_of(context.spec).models
    return (_tokenizer(context, models[name], name) for name in names)


def _tokenizer(context: Context, source: Source, name: str) -> ChatModel:
    folder = context.scratch / f"tokenizer-{name}"
    if source.external:
        uri, pinned = external_inputs(context.spec)[source.external], context.task.inputs[source.external]
        bring_model(context.objects, uri, pinned, folder, weights=False)
    else:
        bring_beside(context.objects, sealed(context.artifact(str(source.stage))), folder)
    return ChatModel.load(folder)


def _bring(objects: Objects, file: File, path: Path) -> None:
    """A file has its name only once it is whole and checked; one that has it already is not brought again."""
    if path.exists() and sha256_of(path) == file.sha256:
        return
    partial = path.with_name(f".{path.name}.partial")
    if objects.download(file.key, partial) != file.sha256:
        partial.unlink()
        raise CorruptInput(f"{file.key} is not what the store's checksum says; upload the model again", "DigestMismatch")
    partial.replace(path)


def _digest(files: Files) -> str:
    return digest([[path, file.sha256] for path, file in sorted(files.items())])
