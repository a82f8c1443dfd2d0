"""Rows as stored bytes: one JSON object a line, zstd. Equal rows give equal bytes, as long as the zstd library is the same.

Lines are ASCII, so NUL, U+2028 and lone surrogates come back as they were and never split a line. Not covered: a high and
a low surrogate that stand side by side come back as the one character they spell.
"""

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import zstandard

from rehearsal.outside.json_text import read_own_json

LEVEL = 3
"""Part of the bytes' identity; zstd's own default."""


def line(value: object) -> bytes:
    """Return the one JSON form of a value: sorted keys, no spaces, ASCII only. NaN and infinities are a ValueError."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def pack(rows: Iterable[Mapping[str, object]]) -> tuple[bytes, int]:
    """Return the rows' stored bytes, and how many rows there are."""
    compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj()
    packed, count = bytearray(), 0
    for row in rows:
        packed += compressor.compress(line(dict(row)) + b"\n")
        count += 1
    packed += compressor.flush()
    return bytes(packed), count


def unpack(data: bytes) -> Iterator[dict[str, Any]]:
    """Yield the rows of stored bytes, which the caller has checked against their digest."""
    with zstandard.ZstdDecompressor().stream_reader(data) as stream:
        for text in io.BufferedReader(stream):
            yield read_own_json(text)
