"""Strict reader of users' JSONL conversations: a row that is not right is refused by file and line, never skipped.

Refused too: a byte-order mark, blank lines, keys that are not listed below, lines over `MAX_LINE_BYTES`. A missing last
line feed and carriage returns are harmless and accepted. Not covered: a file that was cut off exactly between two rows.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rehearsal.api.messages import Refused
from rehearsal.api.run import DataFormat
from rehearsal.data.layouts import LAYOUTS, Message, RowError, layout_of
from rehearsal.data.row_ids import RowIds
from rehearsal.outside.json_text import read_json
from rehearsal.outside.unreadable import Unreadable

MAX_LINE_BYTES = 8 * 2**20
"""More than a million tokens of text; a longer line is a file of another kind, and is not read to its end."""
PIECE_BYTES = 2**20
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Conversation:
    """One row: the number of its line, from 1, and its turns: a system turn or none, then user and assistant in turn."""

    line: int
    messages: tuple[Message, ...]


def read_conversations(path: Path, layout: DataFormat, name: str) -> Iterator[Conversation]:
    """Yield the file's conversations in order, or raise Refused at the first row that is not right.

    `name` is what the user calls the file; errors name it and the line and never quote the text. With `Auto` the first
    row's keys tell the layout, and every row must have it. An empty file is Refused as `NothingToTrain`.
    """
    known: DataFormat | None = None if layout is DataFormat.AUTO else layout
    ids = RowIds()
    line = 0
    for line, raw in _lines(path, name):
        try:
            row = _row(raw, first=line == 1)
            known = known or layout_of(row)
            _refuse_twin(ids, row, line)
            messages = LAYOUTS[known].conversation(row)
        except RowError as error:
            raise Refused(f"{name}, line {line}: {error}", "BadData") from error
        yield Conversation(line, messages)
    if not line:
        raise _empty(name)


def count_rows(path: Path, name: str) -> int:
    """Return how many rows the file holds, without reading what they say. An empty file is Refused as `NothingToTrain`."""
    rows, last = 0, b"\n"
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            rows, last = rows + piece.count(b"\n"), piece[-1:]
    if rows or last != b"\n":
        return rows + (last != b"\n")
    raise _empty(name)


def _lines(path: Path, name: str) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        number = 0
        while raw := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(raw) > MAX_LINE_BYTES:
                limit = MAX_LINE_BYTES // 2**20
                raise Refused(
                    f"{name}, line {number}: longer than {limit} MiB; split it, or write one JSON object a line", "BadData"
                )
            yield number, raw


def _row(raw: bytes, first: bool) -> Mapping[str, object]:
    if first and raw.startswith(_BOM):
        raise RowError("starts with a byte-order mark; save the file as UTF-8 without one")
    if not raw.strip():
        raise RowError("is blank; remove it")
    try:
        row = read_json(raw, keys_once=True, halves=True)  # the layouts tell where half a pair stands
    except Unreadable as error:
        remedy = "" if ";" in error.problem else "; write one JSON object a line"
        raise RowError(f"{error.problem}{remedy}") from error
    if not isinstance(row, dict):
        raise RowError("is JSON, but no object; write {…} with the keys of a known layout")
    return row


def _refuse_twin(ids: RowIds, row: Mapping[str, object], line: int) -> None:
    if row.get("id") is None:
        return
    first = ids.first_line(json.dumps(row["id"]), line)
    if first != line:
        raise RowError(f"has the `id` of line {first}; give every row its own, or none")


def _empty(name: str) -> Refused:
    return Refused(f"{name}: holds no rows; write one JSON object a line", "NothingToTrain")
