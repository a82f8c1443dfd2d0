"""Evaluation tasks in the store: lm-evaluation-harness task files over JSON lines, and nothing in them that runs code.

What a task file may say is a closed list: the harness would run Python for several other keys. Its templates are
rendered in a sandbox. Not covered: groups of tasks, `include`, data sets of the hub.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rehearsal.api.messages import CorruptInput, Refused
from rehearsal.pipeline.external import key_of
from rehearsal.pipeline.fingerprint import digest
from rehearsal.store.checksums import sha256_of
from rehearsal.store.keys import is_key
from rehearsal.store.objects import NotFound, Objects

KEYS = frozenset(
    {
        *("task", "tag", "task_alias", "description", "metadata", "dataset_path", "dataset_kwargs"),
        *("training_split", "validation_split", "test_split", "fewshot_split", "fewshot_config", "num_fewshot"),
        *("doc_to_text", "doc_to_target", "doc_to_choice", "gen_prefix", "target_delimiter", "fewshot_delimiter"),
        *("output_type", "generation_kwargs", "repeats", "filter_list", "metric_list"),
    }
)
TAGS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str", "int", "float", "bool", "null"))
SPLITS = ("test_split", "validation_split", "training_split", "fewshot_split")


@dataclass(frozen=True)
class TaskFile:
    """A task file that was read and checked. `data` are the store keys of the files it names, beside it, sorted."""

    uri: str
    config: Mapping[str, Any]
    data: tuple[str, ...]

    @property
    def metric(self) -> str:
        """The metric that counts: the first."""
        return str(self.config["metric_list"][0]["metric"])


def check_task(objects: Objects, uri: str, field: str, name: str) -> None:
    """Refuse, by field, file and line, a task that is incomplete or could run code. `name` is what the run calls it."""
    task = read_task(objects, uri, f"{field} ({name})")
    for key in task.data:
        _checksum(objects, key, f"{field} ({name}): {uri} names it")


def task_digest(objects: Objects, uri: str, field: str) -> str:
    """Return the SHA-256 over (name, the store's own SHA-256) of the task file and of every data file it names."""
    keys = (key_of(uri), *read_task(objects, uri, field).data)
    return digest([[key.rsplit("/", 1)[-1], _checksum(objects, key, field)] for key in keys])


def bring_task(objects: Objects, uri: str, pinned: str, into: Path) -> TaskFile:
    """Bring a task's data files to a folder; return the task with their absolute paths in it, if it is what was pinned."""
    if task_digest(objects, uri, uri) != pinned:
        raise CorruptInput(
            f"{uri} or its data changed after preflight looked at it; run again to use it as it is now", "InputChanged"
        )
    task = read_task(objects, uri, uri)
    into.mkdir(parents=True, exist_ok=True)
    for key in task.data:
        local = into / key.rsplit("/", 1)[-1]
        objects.download(key, local)
        if sha256_of(local) != objects.stat(key).sha256:
            raise CorruptInput(f"{key} is not what the store's checksum says; upload it again", "DigestMismatch")
    kwargs = {"data_files": _absolute(task.config["dataset_kwargs"]["data_files"], into.resolve())}
    return TaskFile(uri, {**task.config, "dataset_kwargs": kwargs}, task.data)


def read_task(objects: Objects, uri: str, field: str) -> TaskFile:
    """Return a task file of the store, checked."""
    try:
        text = objects.get(key_of(uri)).decode()
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except NotFound:
        raise Refused(f"{field}: there is no {uri} in the store; upload it, or correct the path", "InputMissing") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Refused(f"{field}: {uri} is not YAML: {' '.join(str(error).split())}", "TaskUnusable") from error
    if not isinstance(node, yaml.MappingNode):
        raise Refused(f"{field}: {uri} is not a task file: a YAML mapping is needed", "TaskUnusable")
    _refuse_code(node, f"{field}: {uri}")
    config = yaml.safe_load(text)
    folder = key_of(uri).rpartition("/")[0]
    names = sorted(set(_names(_settled(config, f"{field}: {uri}"), f"{field}: {uri}")))
    return TaskFile(uri, config, tuple(f"{folder}/{name}" if folder else name for name in names))


def _refuse_code(root: yaml.MappingNode, where: str) -> None:
    for node in _nodes(root):
        if node.tag not in TAGS:
            raise Refused(
                f"{where}, line {_line(node)}: {node.tag.rpartition(':')[2]} could run Python; write it as a template",
                "TaskUnusable",
            )
    for key, _ in root.value:
        if key.value not in KEYS:
            raise Refused(f"{where}, line {_line(key)}: `{key.value}` is not supported in a task file; remove it", "TaskUnusable")


def _settled(config: dict[str, Any], where: str) -> object:
    """Return what `data_files` says; Refused when the file does not say enough to be run offline."""
    if config.get("dataset_path") != "json":
        raise Refused(f"{where}: dataset_path must be `json`, with its files beside the task file", "TaskUnusable")
    kwargs = config.get("dataset_kwargs")
    if not isinstance(kwargs, dict) or set(kwargs) != {"data_files"}:
        raise Refused(f"{where}: dataset_kwargs must hold `data_files` and nothing else", "TaskUnusable")
    metrics = config.get("metric_list")
    if not isinstance(metrics, list) or not metrics or not all(isinstance(entry, dict) and "metric" in entry for entry in metrics):
        raise Refused(f"{where}: metric_list must name a metric; the first is the one that counts", "TaskUnusable")
    if not any(config.get(split) for split in SPLITS[:2]):
        raise Refused(f"{where}: test_split or validation_split must name what is asked", "TaskUnusable")
    return kwargs["data_files"]


def _names(files: object, where: str) -> Iterator[str]:
    """Yield every file name in `data_files`: one name, a list, or a mapping of splits to either."""
    if isinstance(files, dict | list):
        for entry in files.values() if isinstance(files, dict) else files:
            yield from _names(entry, where)
    elif isinstance(files, str) and "/" not in files and is_key(files):
        yield files
    else:
        raise Refused(f"{where}: data_files must name files beside the task file, not {files!r}", "TaskUnusable")


def _absolute(files: object, folder: Path) -> object:
    if isinstance(files, dict):
        return {split: _absolute(entry, folder) for split, entry in files.items()}
    if isinstance(files, list):
        return [_absolute(entry, folder) for entry in files]
    return str(folder / str(files))


def _checksum(objects: Objects, key: str, field: str) -> str:
    try:
        return objects.stat(key).sha256
    except NotFound:
        raise Refused(f"{field}: there is no {key} in the store; upload it", "InputMissing") from None


def _nodes(root: yaml.Node) -> Iterator[yaml.Node]:
    """Yield every node once, however often an alias repeats it."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            waiting += [child for pair in node.value for child in pair]


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
