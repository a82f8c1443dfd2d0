"""Reading the progress lines that workers print. Pure."""

from typing import Any

from rehearsal.api.messages import PROGRESS_PREFIX, Progress
from rehearsal.outside.json_text import read_json

LOG_LINES = 50
"""Of a log's end, among which the worker's last progress line is."""


def last_progress(tail: str) -> Progress | None:
    """Return the figures of the last progress line in the end of a log; None where there is none, or it cannot be read."""
    for line in reversed(tail.splitlines()):
        if line.startswith(PROGRESS_PREFIX):
            try:
                found: Any = read_json(line.encode(errors="replace"))
                return Progress.model_validate(found["progress"])
            except (ValueError, KeyError):
                return None
    return None
