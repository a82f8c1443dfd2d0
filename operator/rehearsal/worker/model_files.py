"""A model's files in the store, uploaded or brought from a hub, and what makes them unfit to be served.

Not covered: weights that are safetensors and yet harmful, and a template that does not fit its weights.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from rehearsal.api.messages import Refused
from rehearsal.outside.json_text import read_json
from rehearsal.outside.unreadable import Unreadable
from rehearsal.pipeline.external import key_of
from rehearsal.store.commit import Artifact, File
from rehearsal.store.objects import Objects

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
WEIGHTS = ".safetensors"
KEPT = (f"*{WEIGHTS}", "*.json", "*.jinja", "tokenizer.model", "merges.txt", "vocab.txt", "LICENSE*", "NOTICE*")
"""The names of files that belong to a model; others are not brought to a pod."""
NEEDED = ("config.json", "tokenizer.json")
CONFIGS = ("config.json", ".index.json")
"""How files end that a stage reads itself; all others are read by the bounded child."""
MAX_CONFIG_BYTES = 16 * 2**20
"""Of such a file: the longest index known holds a tenth. As a value it takes some twenty times as much memory."""

Files = Mapping[str, File]
"""By path in the model's folder, sorted."""


def uploaded(objects: Objects, uri: str) -> Files:
    """Return the kept files of a model that lies in the store, with the store's own checksums; empty where there is none."""
    prefix = f"{key_of(uri)}/"
    stats = {path: objects.stat(prefix + path) for path in _names(objects, uri) if is_kept(path)}
    return {path: File(path=path, key=stat.key, sha256=stat.sha256, size=stat.size) for path, stat in sorted(stats.items())}


def is_kept(path: str) -> bool:
    """Tell whether a file belongs to a model, by its name."""
    return any(fnmatchcase(path.rpartition("/")[2], kind) for kind in KEPT)


def sealed(artifact: Artifact) -> Files:
    """Return the files of a model that a stage sealed."""
    return {file.path: file for file in sorted(artifact.sealed().files, key=lambda file: file.path)}


def weight_names(names: Collection[str], read: Callable[[str], bytes], uri: str, field: str) -> frozenset[str]:
    """Return the files that hold a model's weights: those that its index names, else `model.safetensors`. No other file counts.

    The only place that says so: what is measured, checked, brought to a pod and loaded is the same. Refused when one is missing.
    """
    if INDEX in names:
        return check_index(read(INDEX), names, uri, field)
    if SINGLE in names:
        return frozenset({SINGLE})
    if any(name.endswith(WEIGHTS) for name in names):
        raise unusable(field, f"{uri}/{SINGLE}", f"is missing, and no {INDEX} names other files of weights; upload the whole model")
    raise unusable(field, uri, "holds no safetensors file; convert the weights to safetensors")


def stored_weights(objects: Objects, files: Files, uri: str, field: str) -> Files:
    """Return those of a stored model's files that hold its weights."""
    named = weight_names(files, lambda name: objects.get(files[name].key), uri, field)
    return {path: file for path, file in files.items() if path in named}


def check_files(objects: Objects, files: Files, uri: str, field: str) -> None:
    """Refuse, by field and file, a model that is incomplete or could run code when it is loaded."""
    if not files:
        raise unusable(field, uri, "there is no such model in the store; upload it, or correct the path")
    for name in _names(objects, uri):
        if name.endswith(PICKLES):
            raise unusable(field, f"{uri}/{name}", "pickle files can run code; convert the weights to safetensors and remove it")
        if name.endswith(".py"):
            raise unusable(field, f"{uri}/{name}", "a model may not bring code; use a model that its library knows, and remove it")
    check_complete(files, uri, field)
    check_sizes({name: file.size for name, file in files.items()}, uri, field)
    for name in files:
        if name.endswith("config.json"):
            check_config(objects.get(files[name].key), f"{uri}/{name}", field)
    stored_weights(objects, files, uri, field)


def check_complete(names: Collection[str], uri: str, field: str) -> None:
    """Refuse a model without configuration or tokenizer."""
    for name in NEEDED:
        if name not in names:
            raise unusable(field, f"{uri}/{name}", "is missing; upload the whole model folder")


def check_sizes(sizes: Mapping[str, int], uri: str, field: str) -> None:
    """Refuse, before it is read, a configuration or an index that is none by its length; `sizes` are bytes by path."""
    for name, size in sizes.items():
        if name.endswith(CONFIGS) and size > MAX_CONFIG_BYTES:
            raise unusable(field, f"{uri}/{name}", f"is longer than {MAX_CONFIG_BYTES // 2**20} MiB; upload the model again")


def check_config(data: bytes, file: str, field: str) -> None:
    """Refuse a configuration that names code to run."""
    if any("auto_map" in part for part in _objects(_json(data, file, field))):
        raise unusable(field, file, "auto_map names code to run; use a model that its library knows")


def read_config(folder: Path, field: str) -> Mapping[str, object]:
    """Return the config.json of a model folder, or raise Refused."""
    try:
        data = (folder / "config.json").read_bytes()
    except OSError as error:
        raise unusable(field, "config.json", f"cannot be read ({error.strerror}); upload the whole model folder") from None
    return _json(data, "config.json", field)


def check_index(data: bytes, names: Collection[str], uri: str, field: str) -> frozenset[str]:
    """Return the files of weights that an index names; refuse a model that lacks one of them."""
    parts = _json(data, f"{uri}/{INDEX}", field).get("weight_map")
    if not isinstance(parts, dict):
        raise unusable(field, f"{uri}/{INDEX}", "has no weight_map; upload the model again")
    named = frozenset(map(str, parts.values()))
    if not named or (odd := sorted(name for name in named if not name.endswith(WEIGHTS))):
        raise unusable(field, f"{uri}/{INDEX}", f"names {odd[0] if named else 'no file'}; upload the model again")
    if missing := sorted(named - set(names)):
        raise unusable(field, f"{uri}/{missing[0]}", f"is named by {INDEX} and missing; upload the whole model folder")
    return named


def unusable(field: str, what: str, why: str) -> Refused:
    """Return the refusal of a model, by the manifest's field and the file."""
    return Refused(f"{field}: {what}: {why}", "ModelUnusable")


def _json(data: bytes, file: str, field: str) -> dict[str, object]:
    try:
        found = read_json(data, constants=True)
    except Unreadable as error:
        raise unusable(field, file, f"{error}; upload the model again") from error
    if not isinstance(found, dict):
        raise unusable(field, file, "is not a JSON object; upload the model again")
    return found


def _names(objects: Objects, uri: str) -> list[str]:
    prefix = f"{key_of(uri)}/"
    return [key.removeprefix(prefix) for key in objects.list(prefix)]


def _objects(value: object) -> Iterator[Mapping[str, object]]:
    """Yield every object in a JSON value."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
        if isinstance(part, dict | list):
            waiting += part.values() if isinstance(part, dict) else part
