"""Rows that are made, in shards that are not whole yet: written down now and then, so that an interruption loses few of them.

    shards/00017/drafts/<sha256>.jsonl.zst     rows `{"index", "row"}`; whoever begins the shard next makes the others only

A draft has no effect: readers know commits alone, and one that is damaged is not used. Left where it is once its shard is committed.
"""

import hashlib
from collections import Counter, deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock

import zstandard

from rehearsal.store.commit import Artifact
from rehearsal.store.objects import NotFound
from rehearsal.store.rows import pack, unpack

Row = Mapping[str, object]


@dataclass
class Drafts:
    """The drafts of one worker. `most`: rows that may be made and neither committed nor written down.

    `add` and `done` are the event loop's, and wait for nothing; `keep` and `kept` talk to the store, from any thread.
    """

    output: Artifact
    most: int
    _made: dict[int, deque[Row]] = field(default_factory=dict)
    _counts: Counter[int] = field(default_factory=Counter)
    _writing: Lock = field(default_factory=Lock)

    def add(self, shard: int, index: int, row: Row) -> bool:
        """Take a row that was made; return whether it is time to keep what there is."""
        self._made.setdefault(shard, deque()).append({"index": index, "row": row})
        self._counts[shard] += 1
        if self._counts.total() < self.most:
            return False
        self._counts.clear()
        return True

    def done(self, shard: int) -> None:
        """Forget a shard that is committed."""
        self._made.pop(shard, None)
        self._counts.pop(shard, None)

    def keep(self) -> None:
        """Write down every row that was made since the last time and is not committed."""
        with self._writing:
            for shard, made in list(self._made.items()):
                if rows := [made.popleft() for _ in range(len(made))]:
                    data, _ = pack(rows)
                    self.output.objects.put(f"{self._folder(shard)}{hashlib.sha256(data).hexdigest()}.jsonl.zst", data)

    def kept(self, shard: int) -> dict[int, Row]:
        """Return index -> row of what earlier workers wrote down of a shard."""
        found: dict[int, Row] = {}
        folder = self._folder(shard)
        for key in sorted(self.output.objects.list(folder)):
            try:
                data = self.output.objects.get(key)
            except NotFound:
                continue
            if hashlib.sha256(data).hexdigest() != key.removeprefix(folder).partition(".")[0]:
                continue
            with suppress(zstandard.ZstdError, ValueError, LookupError, TypeError, AttributeError):  # not a draft of ours
                found |= {each["index"]: each["row"] for each in unpack(data)}
        return found

    def _folder(self, shard: int) -> str:
        return f"{self.output.layout.shards}{shard:05d}/drafts/"
