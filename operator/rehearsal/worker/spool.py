"""Tokenised rows on a pod's scratch, read back in any order. Memory holds sixteen bytes a row, whatever its length."""

import struct
from array import array
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rehearsal.prompts.masks import Sample

TOKEN_BYTES = 4
ROW_BYTES = 96
"""Of a row on disk beside its tokens, at most, with a span or two: the name, the spans, their numbers."""
_HEAD = struct.Struct("<II")


class Spool:
    """Rows in the order they were added: a name, ids, spans. Closed, it is gone."""

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, path.open("w+b")
        self._starts = array("Q", [0])
        self._tokens, self._trained = array("I"), array("I")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()
        self._path.unlink()

    def __len__(self) -> int:
        return len(self._tokens)

    def add(self, name: str, sample: Sample) -> None:
        """Append a row."""
        label, ids = name.encode(), array("i", sample.ids)
        spans = array("i", [place for span in sample.spans for place in span])
        record = _HEAD.pack(len(label), len(ids)) + label + ids.tobytes() + spans.tobytes()
        self._file.write(record)
        self._starts.append(self._starts[-1] + len(record))
        self._tokens.append(len(ids))
        self._trained.append(sum(end - start for start, end in sample.spans))

    def tokens(self, row: int) -> int:
        """Return how many tokens a row has."""
        return self._tokens[row]

    def trained(self, row: int) -> int:
        """Return how many tokens of a row carry the loss."""
        return self._trained[row]

    def row(self, row: int) -> dict[str, Any]:
        """Read a row back: `{"id", "ids", "spans"}`."""
        self._file.seek(self._starts[row])
        record = memoryview(self._file.read(self._starts[row + 1] - self._starts[row]))
        label, tokens = _HEAD.unpack_from(record)
        named = _HEAD.size + label
        ids, places = array("i"), array("i")
        ids.frombytes(record[named : named + TOKEN_BYTES * tokens])
        places.frombytes(record[named + TOKEN_BYTES * tokens :])
        spans = [[start, end] for start, end in zip(places[::2], places[1::2], strict=True)]
        return {"id": str(record[_HEAD.size : named], "utf-8"), "ids": ids.tolist(), "spans": spans}
