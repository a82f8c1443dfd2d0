"""Fills the shards of a sampled stage: keeps an engine busy across shard borders, commits each shard once it is whole.

A slot starts at its own place in the list of shards and takes shards until none is left; a shard that another slot has
committed meanwhile is skipped. Two slots may meet on the last shards: the commit decides, and the waste is one shard's.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from rehearsal.api.messages import Usage
from rehearsal.pipeline.stage import ROWS_PER_SHARD
from rehearsal.store.commit import Artifact
from rehearsal.worker.pace import Pace

Item = TypeVar("Item")
Row = Mapping[str, object]
Made = tuple[Row, Usage]
Report = Callable[[int, int, float, float], None]
"""Told (rows done of the whole stage, rows in all, rows a second, tokens a second)."""


@dataclass(frozen=True)
class Work(Generic[Item]):
    """The rows of a stage, and `load`, which returns the inputs of rows [start, stop) and may block."""

    rows: int
    load: Callable[[int, int], Sequence[Item]]
    per_shard: int = ROWS_PER_SHARD

    @property
    def shards(self) -> int:
        """Shards in all; the last one may be short."""
        return -(-self.rows // self.per_shard)

    def span(self, shard: int) -> range:
        """Return the indexes of a shard's rows."""
        return range(shard * self.per_shard, min(self.rows, (shard + 1) * self.per_shard))


@dataclass(frozen=True)
class Slot:
    """One of the workers that share a stage, and how many rows it has in the making at a time."""

    index: int = 0
    slots: int = 1
    concurrency: int = 256

    def order(self, shards: int) -> list[int]:
        """Return all shards, beginning at this slot's share."""
        start = self.index % self.slots * shards // self.slots
        return [(start + step) % shards for step in range(shards)]


@dataclass
class Filling(Generic[Item]):
    """One worker's pass over the shards of a stage. `produce` makes a row of its index and its input."""

    output: Artifact
    work: Work[Item]
    produce: Callable[[int, Item], Awaitable[Made]]
    slot: Slot
    report: Report
    _open: dict[int, dict[int, Row]] = field(default_factory=dict)
    _committed: set[int] = field(default_factory=set)
    _usage: Usage = field(default_factory=Usage)
    _pace: Pace = field(default_factory=Pace)

    async def run(self) -> Usage:
        """Return what was consumed once every shard of the stage is committed, by whomever."""
        room = asyncio.Semaphore(self.slot.concurrency)
        try:
            async with asyncio.TaskGroup() as group:
                async for shard, index, item in self._pending():
                    await room.acquire()
                    group.create_task(self._one(shard, index, item, room))
        except BaseExceptionGroup as failed:
            raise _first(failed) from None
        return self._usage

    async def _pending(self) -> AsyncIterator[tuple[int, int, Item]]:
        for shard in self.slot.order(self.work.shards):
            self._committed |= set(await asyncio.to_thread(self.output.commits, self.work.shards))
            self._tell()
            if shard in self._committed:
                continue
            span = self.work.span(shard)
            items = await asyncio.to_thread(self.work.load, span.start, span.stop)
            self._open[shard] = {}
            for index, item in zip(span, items, strict=True):
                yield shard, index, item

    async def _one(self, shard: int, index: int, item: Item, room: asyncio.Semaphore) -> None:
        try:
            row, usage = await self.produce(index, item)
        finally:
            room.release()
        rows, span = self._open[shard], self.work.span(shard)
        rows[index] = row
        self._usage += usage
        self._pace.add(1, usage.completion_tokens + usage.prompt_tokens)
        self._tell()
        if len(rows) == len(span):
            await asyncio.to_thread(self.output.commit_shard, shard, [rows[index] for index in span])
            self._committed.add(shard)
            del self._open[shard]

    def _tell(self) -> None:
        whole = sum(len(self.work.span(shard)) for shard in self._committed)
        started = sum(len(rows) for shard, rows in self._open.items() if shard not in self._committed)
        rows, tokens = self._pace.rates()
        self.report(whole + started, self.work.rows, rows * self.slot.slots, tokens * self.slot.slots)


def _first(failed: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the failure that came first: the others are rows that fell with it."""
    inner = failed.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
