"""How the operator logs: to standard error, one line a record, as text or as JSON. No secrets, no model text: nothing here sees any."""

import json
import logging
import sys
from datetime import UTC, datetime

from rehearsal.outside.text import shown

FORMATS = ("json", "text")
LONGEST = 20_000


class Plain(logging.Formatter):
    """A record as text, printable whatever it quotes."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record, with the lines of its traceback if it has one."""
        return shown(super().format(record), LONGEST, lines=True)


class OneLine(logging.Formatter):
    """A record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        told = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": shown(record.getMessage(), LONGEST, lines=True),
        }
        if record.exc_info:
            told["error"] = shown(self.formatException(record.exc_info), LONGEST, lines=True)
        return json.dumps(told, ensure_ascii=False)


def configure(shape: str) -> None:
    """Log in that shape from now on. kopf's chatter is left out: it logs each login, watch and retry."""
    handler = logging.StreamHandler(sys.stderr)
    text = Plain("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    handler.setFormatter(OneLine() if shape == "json" else text)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("kopf").setLevel(logging.WARNING)
