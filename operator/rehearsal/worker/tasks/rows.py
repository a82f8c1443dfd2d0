"""The rows of a task's data files, read strictly: in a `.jsonl` file an object a line, in a `.json` file a list of objects."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rehearsal.api.messages import Refused
from rehearsal.outside.json_text import read_json
from rehearsal.outside.unreadable import Unreadable

MAX_LINE_BYTES = 8 * 2**20
MAX_LIST_BYTES = 16 * 2**20
"""A list is read as one piece, which may take thirty times its size; longer ones are written line by line."""

Fields = Mapping[str, object]


@dataclass(frozen=True)
class Row:
    """One row, and where it stands: `capitals.jsonl, row 3`."""

    place: str
    fields: Fields


def read_rows(files: Iterable[Path]) -> Iterator[Row]:
    """Yield the rows of files, one file after the other; Refused by file and row, without quoting, where one is not right."""
    for path in files:
        empty = True
        for number, value in enumerate(_values(path), 1):
            empty = False
            if not isinstance(value, dict):
                raise _refused(f"{path.name}, row {number}: is no JSON object; write {{…}} with a value for each field")
            yield Row(f"{path.name}, row {number}", value)
        if empty:
            raise _refused(f"{path.name}: holds no rows")


def _values(path: Path) -> Iterator[object]:
    if path.suffix == ".jsonl":
        yield from _lines(path)
        return
    try:
        value = read_json(path.read_bytes(), most=MAX_LIST_BYTES, keys_once=True)
    except Unreadable as error:
        raise _refused(f"{path.name}: {error}") from None
    if not isinstance(value, list):
        raise _refused(f"{path.name}: is no list of objects; name it .jsonl if it holds an object a line")
    yield from value


def _lines(path: Path) -> Iterator[object]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            try:
                yield read_json(line, most=MAX_LINE_BYTES, keys_once=True)
            except Unreadable as error:
                raise _refused(f"{path.name}, row {number}: {error.problem}") from None


def _refused(text: str) -> Refused:
    return Refused(text, "BadData")
