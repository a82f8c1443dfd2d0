"""Keys: what counts as one, and where the objects of an artifact lie. Every key of an artifact follows from what it holds."""

import re
from dataclasses import dataclass

_COMMIT = re.compile(r"shards/([0-9]{5,})/commit\.json")


def is_key(text: str) -> bool:
    """Tell whether the text is a relative POSIX path of printable characters without empty, `.` or `..` parts."""
    return text.isprintable() and not any(part in ("", ".", "..") for part in text.split("/"))


@dataclass(frozen=True)
class Layout:
    """The keys of one artifact, all of them under `prefix`."""

    prefix: str

    @property
    def manifest(self) -> str:
        """The seal."""
        return f"{self.prefix}/manifest.json"

    @property
    def shards(self) -> str:
        """What the keys of all shards start with."""
        return f"{self.prefix}/shards/"

    def commit(self, index: int) -> str:
        """Return where a shard's commit lies."""
        return f"{self.shards}{index:05d}/commit.json"

    def data(self, index: int, sha256: str) -> str:
        """Return where a shard's rows lie. Writers whose rows differ do not touch each other's."""
        return f"{self.shards}{index:05d}/data-{sha256}.jsonl.zst"

    def file(self, path: str, sha256: str) -> str:
        """Return where an output file lies."""
        return f"{self.prefix}/files/{sha256}/{path}"

    def committed(self, key: str) -> int | None:
        """Return the index of the shard whose commit has this key, if it is one."""
        match = _COMMIT.fullmatch(key.removeprefix(f"{self.prefix}/"))
        return int(match[1]) if match else None
