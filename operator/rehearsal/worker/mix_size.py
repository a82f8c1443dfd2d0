"""What mix takes of its pod, by arithmetic, before anything takes a GPU. Pure; preflight asks.

Scratch holds the users' files and the tokenised rows; memory a few bytes a row, and one shard as it is compressed.
"""

from dataclasses import dataclass
from math import ceil

from rehearsal.api.messages import Refused
from rehearsal.api.quantity import quantity
from rehearsal.pipeline.stage import ROWS_PER_SHARD
from rehearsal.worker.spool import ROW_BYTES, TOKEN_BYTES

PROGRAM = 400_000_000
"""Memory of the program, its libraries, a tokenizer of 150,000 words and SQLite's cache."""
MEMORY_A_ROW = 64
"""Places in orders, spool and draw: some 45 bytes, with room for arrays that grow."""
PACKED_TOKEN = 3
"""Bytes of a token in a shard that is being compressed."""
GB = 1e9


@dataclass(frozen=True)
class MixSize:
    """Bytes of the users' files, rows in them and of the mix, tokens of all that fit and of the longest row at most."""

    files: int
    rows: int = 0
    mixed: int = 0
    tokens: int = 0
    longest: int = 0

    @property
    def scratch(self) -> int:
        """Bytes on scratch."""
        return self.files + TOKEN_BYTES * self.tokens + ROW_BYTES * self.rows

    @property
    def memory(self) -> int:
        """Bytes of memory."""
        return PROGRAM + MEMORY_A_ROW * (self.rows + self.mixed) + PACKED_TOKEN * ROWS_PER_SHARD * self.longest

    def check(self, scratch: str, memory: str) -> None:
        """Refuse, with the arithmetic, a mix that does not fit a pod's scratch or memory; both are Kubernetes quantities."""
        for needed, given, knob, parts in (
            (self.scratch, scratch, "scratch", f"{self.files / GB:,.1f} GB of files and up to {self.tokens:,} tokens"),
            (self.memory, memory, "cpuStage.memory", f"{self.rows:,} rows and {self.mixed:,} of the mix"),
        ):
            if needed > quantity(given):
                raise Refused(
                    f"the mix does not fit its pod: {parts} take {ceil(needed / 1e8) / 10:,.1f} GB, and the platform's {knob} is "
                    f"{given}; have the platform give more, or give fewer rows",
                    "DoesNotFit",
                )
