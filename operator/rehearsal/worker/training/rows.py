"""The mix on scratch in a form that ranks map into memory: token ids, a trained-or-not byte a token, and row lengths.

A 100,000-row mix is some 60 million tokens: 300 MB in two flat files, against gigabytes of Python lists a rank.
"""

import mmap
from array import array
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from rehearsal.api.messages import CorruptInput

IDS, TRAINED, LENGTHS = "ids.i32", "trained.u8", "lengths.i64"


def write_rows(rows: Iterable[Mapping[str, Any]], folder: Path) -> list[int]:
    """Write the mix's rows (`ids`, `spans` of the token positions to be predicted) and return their lengths, in order."""
    folder.mkdir(parents=True, exist_ok=True)
    lengths = array("q")
    with (folder / IDS).open("wb") as ids_file, (folder / TRAINED).open("wb") as trained_file:
        for row in rows:
            ids = array("i", row["ids"])
            trained = _trained(row["id"], len(ids), row["spans"])
            ids.tofile(ids_file)
            trained_file.write(trained)
            lengths.append(len(ids))
    (folder / LENGTHS).write_bytes(lengths.tobytes())
    return lengths.tolist()


def _trained(name: str, length: int, spans: Sequence[tuple[int, int]]) -> bytearray:
    trained = bytearray(length)
    for start, end in spans:
        if not 0 < start < end <= length:
            raise CorruptInput(f"row {name} of the mix: span {start}..{end} does not lie within tokens 1..{length}", stage="mix")
        trained[start:end] = b"\x01" * (end - start)
    return trained


class Rows:
    """Reads what `write_rows` wrote, without loading it."""

    def __init__(self, folder: Path) -> None:
        self.lengths = array("q", (folder / LENGTHS).read_bytes()).tolist()
        self._ends = list(accumulate(self.lengths))
        self._ids = _mapped(folder / IDS).cast("i")
        self._trained = _mapped(folder / TRAINED)

    def __len__(self) -> int:
        return len(self.lengths)

    def ids(self, row: int) -> list[int]:
        """Return a row's token ids."""
        return self._ids[self._start(row) : self._ends[row]].tolist()

    def trained(self, row: int) -> bytes:
        """Return one byte a token of the row: 1 where the token is to be predicted."""
        return bytes(self._trained[self._start(row) : self._ends[row]])

    def trained_tokens(self, row: int) -> int:
        """Return how many tokens of a row are to be predicted."""
        return self.trained(row).count(1)

    def _start(self, row: int) -> int:
        return self._ends[row] - self.lengths[row]


def _mapped(path: Path) -> memoryview:
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
