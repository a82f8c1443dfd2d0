"""Who began which shard and did not live to commit it: a shard that kills its workers is found out, and left alone.

    shards/00017/attempts/<salt>/2        create-if-absent: the second start; holds the slot that made it
                                 2.ended  it ended by itself, or was told to: no fault of the shard
                                 2.died   the slot's next pod says so: whoever began it is gone

Of one shard at most three starts are without an end at a time, and the third is made by a worker that does nothing else: what it
dies of is that shard. The salt follows from `spec.retry`, a new value of which forgets all of this.
Not covered: a machine that is switched off three times at the same shard. It looks the same.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Lock
from typing import Self

from rehearsal.store.commit import Artifact

STARTS = 3
_MARKER = re.compile(r"([0-9]{5,})/attempts/([0-9a-f]{8})/([0-9]+)(?:\.(ended|died))?")


@dataclass
class History:
    """What is known of one shard's starts, by number."""

    started: set[int] = field(default_factory=set)
    ended: set[int] = field(default_factory=set)
    died: set[int] = field(default_factory=set)

    @property
    def open(self) -> set[int]:
        """Starts that did not end: someone is at them, or died of them."""
        return self.started - self.ended

    @property
    def suspect(self) -> bool:
        """Whether the next start is the last one, and has to be made alone."""
        return len(self.open) >= STARTS - 1

    @property
    def taken(self) -> bool:
        """Whether nobody may start any more until a start ends."""
        return len(self.open) >= STARTS

    @property
    def poison(self) -> bool:
        """Whether it has killed three workers."""
        return len(self.died) >= STARTS


class Attempts:
    """The attempts of one slot of a stage, and a look at those of the others."""

    def __init__(self, output: Artifact, slot: int, slots: int, retry: str) -> None:
        self._objects, self._shards = output.objects, output.layout.shards
        self._slot, self._slots = slot, slots
        self._salt = hashlib.sha256(retry.encode()).hexdigest()[:8]
        self._mine: dict[int, str] = {}
        self._noting, self._over = Lock(), False

    def declare_dead(self) -> Self:
        """Say of every start that this slot's earlier pods left without an end, or slots that are no more, that its worker died."""
        for shard, history in self._histories(self._shards).items():
            for number in history.open - history.died:
                key = self._key(shard, number)
                slot = int(self._objects.get(key))
                if slot == self._slot or slot >= self._slots:
                    self._objects.create(f"{key}.died", b"")
        return self

    def of(self, shard: int) -> History:
        """Return what is known of a shard now."""
        return self._histories(self._folder(shard)).get(shard, History())

    def start(self, shard: int) -> bool:
        """Note that this worker begins a shard; False where three others have, or where this one ends."""
        while not (history := self.of(shard)).taken:
            key = self._key(shard, max(history.started, default=0) + 1)
            with self._noting:
                if self._over:
                    return False
                if self._objects.create(key, str(self._slot).encode()):
                    self._mine[shard] = key
                    return True
        return False

    def end(self) -> None:
        """Note that this worker ends through no fault of the shards that it has begun. A committed one needs no note."""
        with self._noting:
            self._over = True
        for key in list(self._mine.values()):
            self._objects.create(f"{key}.ended", b"")

    def done(self, shard: int) -> None:
        """Forget a shard that is committed."""
        self._mine.pop(shard, None)

    def _histories(self, prefix: str) -> dict[int, History]:
        found: defaultdict[int, History] = defaultdict(History)
        for shard, number, word in self._markers(prefix):
            history = found[shard]
            {"ended": history.ended, "died": history.died}.get(word, history.started).add(number)
        return found

    def _markers(self, prefix: str) -> Iterator[tuple[int, int, str]]:
        for key in self._objects.list(prefix):
            if (match := _MARKER.fullmatch(key.removeprefix(self._shards))) and match[2] == self._salt:
                yield int(match[1]), int(match[3]), match[4] or ""

    def _folder(self, shard: int) -> str:
        return f"{self._shards}{shard:05d}/attempts/{self._salt}/"

    def _key(self, shard: int, number: int) -> str:
        return f"{self._folder(shard)}{number}"
