"""Rows of public data files as they are found: JSON lines, one JSON array, parquet. Read piece by piece, however large."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rehearsal.api.messages import Refused
from rehearsal.outside.json_text import read_json, read_json_item
from rehearsal.outside.unreadable import Unreadable

PIECE = 1 << 22
BATCH = 1000
LONGEST_ITEM = 1 << 26
BETWEEN = re.compile(r"[\s,]*")

Row = Mapping[str, Any]


def read_rows(path: Path, columns: Sequence[str], name: str) -> Iterator[Row]:
    """Yield the file's rows; of parquet only those columns. `name` is what a refusal calls the file."""
    if path.suffix == ".parquet":
        yield from _parquet(path, columns, name)
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        array = file.read(PIECE).lstrip().startswith("[")
    for value in _array(path, name) if array else _lines(path, name):
        if not isinstance(value, dict):
            raise _unreadable(name, f"holds a {type(value).__name__} where a row should be")
        yield value


def _lines(path: Path, name: str) -> Iterator[object]:
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(LONGEST_ITEM), b""), 1):
            try:
                yield read_json(line, halves=True)
            except Unreadable as error:
                raise _unreadable(name, f"line {number} {error.problem}") from error


def _array(path: Path, name: str) -> Iterator[object]:
    """Yield the items of one array. What is left of a piece goes in front of the next one until it holds a whole item."""
    with path.open(encoding="utf-8", errors="replace") as file:
        text, place = file.read(PIECE).lstrip()[1:], 0
        while True:
            if (between := BETWEEN.match(text, place)) and (place := between.end()) < len(text) and text[place] == "]":
                return
            try:
                item, place = read_json_item(text, place)
            except Unreadable as error:
                more = file.read(max(PIECE, len(text) - place)) if len(text) - place < LONGEST_ITEM else ""
                if not more:
                    raise _unreadable(name, "is cut off or is not JSON") from error
                text, place = text[place:] + more, 0
            else:
                yield item


def _parquet(path: Path, columns: Sequence[str], name: str) -> Iterator[Row]:
    import pyarrow as pa  # noqa: PLC0415 - of the image that fetches, and only for these files
    from pyarrow import parquet  # noqa: PLC0415

    try:
        with parquet.ParquetFile(path) as file:
            if missing := [column for column in columns if column not in file.schema_arrow.names]:
                raise _unreadable(name, f"has no column {', '.join(missing)}")
            for batch in file.iter_batches(batch_size=BATCH, columns=list(columns)):
                yield from batch.to_pylist()
    except pa.ArrowException as error:
        raise _unreadable(name, f"is not parquet ({type(error).__name__})") from error


def _unreadable(name: str, why: str) -> Refused:
    return Refused(f"{name}: {why}; name another `revision`", "BadData")
