"""Rows that wait in scratch until it is known whether they are wanted: packed as in the store, some hundred at a time.

What was committed cannot be taken back, and what memory holds must not grow with the rows.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from rehearsal.pipeline.stage import ROWS_PER_SHARD
from rehearsal.store.rows import pack, unpack

_SIZE = 8
"""Bytes before each batch that hold its size."""


class Shelf:
    """One pass of rows, kept in a file and read back in order."""

    def __init__(self, path: Path) -> None:
        self.rows = 0
        self._path = path

    def fill(self, rows: Iterable[Mapping[str, object]]) -> None:
        """Keep the rows, in place of any that were kept."""
        self.rows, remaining = 0, iter(rows)
        with self._path.open("wb") as file:
            while True:
                data, count = pack(islice(remaining, ROWS_PER_SHARD))
                if not count:
                    return
                file.write(len(data).to_bytes(_SIZE))
                file.write(data)
                self.rows += count

    def read(self) -> Iterator[dict[str, Any]]:
        """Yield the rows in their order."""
        with self._path.open("rb") as file:
            while size := file.read(_SIZE):
                yield from unpack(file.read(int.from_bytes(size)))
