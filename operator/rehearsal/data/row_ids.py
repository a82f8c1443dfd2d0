"""The `id`s of a file's rows, to find one that is given twice. They lie in a temporary file, not in memory."""

import hashlib
import sqlite3

from rehearsal.api.messages import DiskError

CACHE_KIB = 16 * 1024


class RowIds:
    """Ids by the line that gave them first. A file without ids costs nothing."""

    def __init__(self) -> None:
        self._database: sqlite3.Connection | None = None

    def first_line(self, key: str, line: int) -> int:
        """Take down that this line gives the id, written as JSON; return the line that gave it first."""
        database = self._database = self._database or _opened()
        digest = hashlib.sha256(key.encode()).digest()
        try:
            database.execute("INSERT INTO ids VALUES (?, ?)", (digest, line))
        except sqlite3.IntegrityError:
            found: tuple[int] = database.execute("SELECT line FROM ids WHERE id = ?", (digest,)).fetchone()
            return found[0]
        except sqlite3.OperationalError as error:
            raise DiskError(f"the temporary file of row ids: {error}; make room where temporary files go, and run again") from error
        return line


def _opened() -> sqlite3.Connection:
    # A database without a name is a temporary file of SQLite's own, removed when it is closed.
    database = sqlite3.connect("", isolation_level=None)
    for pragma in (f"cache_size = -{CACHE_KIB}", "journal_mode = OFF", "synchronous = OFF"):
        database.execute(f"PRAGMA {pragma}")
    database.execute("CREATE TABLE ids (id BLOB PRIMARY KEY, line INTEGER) WITHOUT ROWID")
    database.execute("BEGIN")
    return database
