"""A model's files in the store, uploaded or brought from a hub, and what makes them unfit to be served.

Not covered: weights that are safetensors and yet harmful, and a template that does not fit its weights.
"""

import json
from collections.abc import Collection, Mapping

from rehearsal.api.messages import Refused
from rehearsal.pipeline.external import key_of
from rehearsal.store.commit import Artifact, File
from rehearsal.store.objects import Objects

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
INDEX = "model.safetensors.index.json"
WEIGHTS = ".safetensors"
NEEDED = ("config.json", "tokenizer.json")

Files = Mapping[str, File]
"""By path in the model's folder, sorted."""


def uploaded(objects: Objects, uri: str) -> Files:
    """Return the files of a model that lies in the store, with the store's own checksums; empty where there is none."""
    prefix = f"{key_of(uri)}/"
    stats = {key.removeprefix(prefix): objects.stat(key) for key in objects.list(prefix)}
    return {path: File(path=path, key=stat.key, sha256=stat.sha256, size=stat.size) for path, stat in sorted(stats.items())}


def sealed(artifact: Artifact) -> Files:
    """Return the files of a model that a stage sealed."""
    return {file.path: file for file in sorted(artifact.sealed().files, key=lambda file: file.path)}


def weight_bytes(files: Files) -> int:
    """Return the size of a model's weights. A tied embedding is stored, and counted, once."""
    return sum(file.size for path, file in files.items() if path.endswith(WEIGHTS))


def check_files(objects: Objects, files: Files, uri: str, field: str) -> None:
    """Refuse, by field and file, a model that is incomplete or could run code when it is loaded."""
    if not files:
        raise unusable(field, uri, "there is no such model in the store; upload it, or correct the path")
    for name in files:
        if name.endswith(PICKLES):
            raise unusable(field, f"{uri}/{name}", "pickle files can run code; convert the weights to safetensors and remove it")
        if name.endswith(".py"):
            raise unusable(field, f"{uri}/{name}", "a model may not bring code; use a model that its library knows, and remove it")
    check_complete(files, uri, field)
    for name in files:
        if name.endswith("config.json"):
            check_config(objects.get(files[name].key), f"{uri}/{name}", field)
    if INDEX in files:
        check_index(objects.get(files[INDEX].key), files, uri, field)


def check_complete(names: Collection[str], uri: str, field: str) -> None:
    """Refuse a model without weights, configuration or tokenizer."""
    for name in NEEDED:
        if name not in names:
            raise unusable(field, f"{uri}/{name}", "is missing; upload the whole model folder")
    if not any(name.endswith(WEIGHTS) for name in names):
        raise unusable(field, uri, "holds no safetensors file; convert the weights to safetensors")


def check_config(data: bytes, file: str, field: str) -> None:
    """Refuse a configuration that names code to run."""
    if "auto_map" in _json(data, file, field):
        raise unusable(field, file, "auto_map names code to run; use a model that its library knows")


def check_index(data: bytes, names: Collection[str], uri: str, field: str) -> frozenset[str]:
    """Return the files of weights that an index names; refuse a model that lacks one of them."""
    parts = _json(data, f"{uri}/{INDEX}", field).get("weight_map")
    if not isinstance(parts, dict):
        raise unusable(field, f"{uri}/{INDEX}", "has no weight_map; upload the model again")
    named = frozenset(map(str, parts.values()))
    if missing := sorted(named - set(names)):
        raise unusable(field, f"{uri}/{missing[0]}", f"is named by {INDEX} and missing; upload the whole model folder")
    return named


def unusable(field: str, what: str, why: str) -> Refused:
    """Return the refusal of a model, by the manifest's field and the file."""
    return Refused(f"{field}: {what}: {why}", "ModelUnusable")


def _json(data: bytes, file: str, field: str) -> dict[str, object]:
    try:
        found = json.loads(data)
    except ValueError as error:
        raise unusable(field, file, "is not JSON; upload the model again") from error
    if not isinstance(found, dict):
        raise unusable(field, file, "is not a JSON object; upload the model again")
    return found
