"""What ranks tell their node's parent: JSON lines in one file that they append to. Lines are far below PIPE_BUF, so they never mix.

Standard output is no channel for this: torchrun and its libraries write there too.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

from rehearsal.outside.json_text import read_own_json

JOINED, STARTED, STEP, CHECKPOINT, FAILED = "joined", "started", "step", "checkpoint", "failed"


def tell(path: Path, kind: str, **facts: object) -> None:
    """Append one event."""
    line = json.dumps({"event": kind, **facts}).encode() + b"\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


class Listener:
    """Reads the events that were added since it last looked."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def news(self) -> Iterator[dict[str, object]]:
        """Yield the new events; a line that is still being written waits for the next call."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                yield read_own_json(line)
