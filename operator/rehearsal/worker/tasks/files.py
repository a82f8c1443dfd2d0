"""Task files in the store: read, checked against the types, brought with their data, and held to what was pinned."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rehearsal.api.messages import CorruptInput, Refused
from rehearsal.outside.text import shown
from rehearsal.outside.unreadable import Unreadable
from rehearsal.outside.yaml_text import MAX_BYTES, Document, read_document
from rehearsal.pipeline.external import key_of
from rehearsal.pipeline.fingerprint import digest
from rehearsal.store.objects import NotFound, Objects
from rehearsal.worker.tasks.rows import Row, read_rows
from rehearsal.worker.tasks.schema import TaskConfig, contradictions

MAX_DATA_BYTES = 256 * 2**20
"""Of a task's data files together: the largest suites hold a tenth of it."""


@dataclass(frozen=True)
class TaskFile:
    """A task file that was read and checked, and its data in a local folder.

    `where` names it in errors; `document` tells where each key is written; `digest` is made of the bytes that were brought.
    """

    uri: str
    where: str
    config: TaskConfig
    document: Document
    folder: Path
    digest: str

    @property
    def metric(self) -> str:
        """The metric that counts: the first."""
        return self.config.metric_list[0].metric

    def rows(self, split: str) -> Iterator[Row]:
        """Yield a split's rows as they are asked; Refused by file and row where one is not right."""
        try:
            yield from read_rows(self.folder / name for name in self.config.dataset_kwargs.data_files[split])
        except Refused as error:
            raise Refused(f"{self.where}: {error}", error.reason) from None

    def refusal(self, key: str, problem: str, place: str = "") -> Refused:
        """Return the error that names file, line, key and, where it is a row's, the row."""
        return _refusal(self.where, self.document, key, problem, place)


def fetch_task(objects: Objects, uri: str, where: str, into: Path) -> TaskFile:
    """Bring a task and its data to a folder of its own; Refused by line where it says what it may not."""
    key = key_of(uri)
    data = _read(objects, key, where)
    config, document = _parsed(data, where)
    folder = key.rpartition("/")[0]
    names = sorted({name for files in config.dataset_kwargs.data_files.values() for name in files})
    keys = {name: f"{folder}/{name}" if folder else name for name in names}
    _check_sizes(objects, keys, where)
    into.mkdir(parents=True, exist_ok=True)
    brought = [[key.rsplit("/", 1)[-1], hashlib.sha256(data).hexdigest()]]
    brought += [[name, objects.download(source, into / name)] for name, source in keys.items()]
    return TaskFile(uri, where, config, document, into, digest(brought))


def bring_task(objects: Objects, uri: str, pinned: str, into: Path) -> TaskFile:
    """Bring a task whose bytes, and whose data's bytes, are those that preflight looked at; CorruptInput otherwise."""
    task = fetch_task(objects, uri, uri, into)
    if task.digest != pinned:
        raise CorruptInput(
            f"{uri} or its data changed after preflight looked at it; run again to use it as it is now", "InputChanged"
        )
    return task


def _read(objects: Objects, key: str, where: str) -> bytes:
    try:
        if objects.stat(key).size > MAX_BYTES:
            raise Refused(f"{where}: is longer than {MAX_BYTES // 2**10} KiB: no task file", "TaskUnusable")
        return objects.get(key)
    except NotFound:
        raise Refused(f"{where}: there is no such file in the store; upload it, or correct the path", "InputMissing") from None


def _check_sizes(objects: Objects, keys: Mapping[str, str], where: str) -> None:
    total = 0
    for key in keys.values():
        try:
            total += objects.stat(key).size
        except NotFound:
            raise Refused(f"{where}: it names {key}, and there is none in the store; upload it", "InputMissing") from None
    if total > MAX_DATA_BYTES:
        limit = MAX_DATA_BYTES // 2**20
        raise Refused(f"{where}: its data files hold {total // 2**20} MiB, and a task may hold {limit}", "TaskUnusable")


def _parsed(data: bytes, where: str) -> tuple[TaskConfig, Document]:
    try:
        document = read_document(data)
    except Unreadable as error:
        raise Refused(f"{where}, {error}" if error.line else f"{where}: {error}", "TaskUnusable") from None
    if not isinstance(document.value, dict):
        raise Refused(f"{where}: is no task file: a YAML mapping is needed", "TaskUnusable")
    try:
        config = TaskConfig.model_validate(document.value)
    except ValidationError as error:
        key, problem = _first(error, document)
        raise _refusal(where, document, key, problem) from None
    for key, problem in contradictions(config):
        raise _refusal(where, document, key, f"`{key}`: {problem}")
    return config, document


def _first(error: ValidationError, document: Document) -> tuple[str, str]:
    """Return the first key that is wrong, and what is wrong with it; never its value."""
    details: list[Any] = error.errors(include_url=False, include_input=False)
    key = _written(details[0], document)
    told = [_problem(detail) for detail in details if _written(detail, document) == key]
    return key, f"`{shown(key, 120)}` {' or '.join(dict.fromkeys(told))}"


def _written(detail: Mapping[str, Any], document: Document) -> str:
    """Return the path of a key as it is written: pydantic also names the types that it tried on the way."""
    path, value = "", document.value
    for part in detail["loc"]:
        if isinstance(part, int) and isinstance(value, list):
            path, value = f"{path}[{part}]", value[part]
        elif isinstance(value, dict) and (part in value or detail["type"] == "missing"):
            path, value = f"{path}.{part}".lstrip("."), value.get(part)
    return path


def _problem(detail: Mapping[str, Any]) -> str:
    if detail["type"] == "union_tag_invalid":
        return f"must name one of the functions {detail['ctx']['expected_tags']}"
    plain = {"extra_forbidden": "is not supported in a task file; remove it", "missing": "is required"}
    text: str = detail["msg"]
    return plain.get(detail["type"], text.removeprefix("Value error, ").replace("Input should", "must", 1))


def _refusal(where: str, document: Document, key: str, problem: str, place: str = "") -> Refused:
    line = f", line {document.line(key)}" if key else ""
    return Refused(f"{where}{line}: {problem}{place and f' ({place})'}", "TaskUnusable")
