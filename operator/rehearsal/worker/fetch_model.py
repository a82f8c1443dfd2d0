"""Bring a model from a hub into the store: safetensors, configuration and tokenizer of one commit, and nothing that runs code.

What preflight asks of a model in the store is asked here before the weights come. Files pass through scratch one at a time;
those that an earlier attempt stored are not brought again.
"""

import shutil
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from rehearsal.pipeline.external import model_field
from rehearsal.pipeline.sources import HUB, sources_of
from rehearsal.store.commit import File, Manifest
from rehearsal.store.objects import NotFound
from rehearsal.worker.context import Context
from rehearsal.worker.hub import HubClient, HubFile, Repository
from rehearsal.worker.model_files import WEIGHTS, check_complete, check_config, check_sizes, is_kept, weight_names
from rehearsal.worker.pace import Pace
from rehearsal.worker.suitability import check_model_suits
from rehearsal.worker.weights import WeightFile


def fetch_model(context: Context, hub: HubClient) -> Manifest:
    """Seal the model's files; facts say where they are from, and under which licence."""
    sources = sources_of(context.spec)
    roles = [role for role, source in sources.models.items() if source.stage == context.stage.name]
    uri = sources.hub[context.stage.name]
    name, _, commit = uri.removeprefix(HUB).partition("@")
    repository = hub.look("model", name, commit)
    # Folders in a repository hold the model in other forms.
    kept = {
        file.path: file
        for file in sorted(repository.files, key=lambda file: file.path)
        if "/" not in file.path and is_kept(file.path)
    }
    field = model_field(context.spec, roles[0])
    check_complete(kept, uri, field)
    check_sizes({path: file.size for path, file in kept.items()}, uri, field)
    folder = context.scratch / "beside"
    beside = [hub.download(repository, file, folder) for path, file in kept.items() if not path.endswith(WEIGHTS)]
    weights = _weights(kept, folder, uri, field)
    headers = [WeightFile(file.path, file.size, partial(hub.start, repository, file)) for file in weights]
    for role in roles:
        check_model_suits(context, role, folder, headers)
    files = [context.output.add_file(path.name, path) for path in beside]
    files += _bring(context, hub, repository, weights)
    return context.output.seal(
        0, files=files, facts={"repository": name, "revision": repository.commit, "license": repository.license}
    )


def _weights(kept: dict[str, HubFile], folder: Path, uri: str, field: str) -> list[HubFile]:
    """Return the files of weights, which a repository may hold in other forms as well; refuse what names code."""
    for path in kept:
        if path.endswith("config.json"):
            check_config((folder / path).read_bytes(), f"{uri}/{path}", field)
    named = weight_names(kept, lambda name: (folder / name).read_bytes(), uri, field)
    return [file for path, file in kept.items() if path in named]


def _bring(context: Context, hub: HubClient, repository: Repository, weights: Iterable[HubFile]) -> list[File]:
    """Store the weights, each gone from scratch before the next one comes."""
    files: list[File] = []
    weights, pace, done = list(weights), Pace(), 0
    for weight in weights:
        if there := _stored(context, weight):
            files.append(there)
        else:
            folder = context.scratch / "weights"
            files.append(context.output.add_file(weight.path, hub.download(repository, weight, folder)))
            shutil.rmtree(folder)
            pace.add(weight.size, 0)
        done += weight.size
        context.progress(done, sum(each.size for each in weights), "bytes", pace.rates()[0])
    return files


def _stored(context: Context, file: HubFile) -> File | None:
    """Return the file where an earlier attempt has stored it, as the hub's own digest shows."""
    if file.sha256 is None:
        return None
    key = context.output.layout.file(file.path, file.sha256)
    try:
        stat = context.objects.stat(key)
    except NotFound:
        return None
    found = File(path=file.path, key=key, sha256=stat.sha256, size=stat.size)
    return found if (stat.sha256, stat.size) == (file.sha256, file.size) else None
