"""Fills the shards of a sampled stage: keeps an engine busy across shard borders, commits each shard once it is whole.

A slot starts at its own place in the list of shards and takes shards until none is left; a shard that another slot has
committed meanwhile is skipped. Slots may meet on the last shards: the commit decides, and the waste is one shard's.
Rows of shards that are not whole are kept as `drafts`: an interruption loses what is in the making, a sudden death a shard's rows more.
A shard that kills its workers is worked alone at last, and then no more (`attempts`).
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from rehearsal.api.messages import CorruptInput, DiskError, Refused, StageError, TooManyRefused, Unavailable, Usage
from rehearsal.store.commit import Artifact
from rehearsal.worker.attempts import STARTS, Attempts
from rehearsal.worker.context import log
from rehearsal.worker.drafts import Drafts
from rehearsal.worker.ending import last_act
from rehearsal.worker.pace import Pace
from rehearsal.worker.sharding import Sharding

Item = TypeVar("Item")
Row = Mapping[str, object]
Made = tuple[Row, Usage]
INNOCENT = (Refused, CorruptInput, TooManyRefused, Unavailable, DiskError, OSError)
"""Ends that no shard has brought about. Of any other, as of a sudden death, the shards in the making are suspected."""
REFUSED = "refused"
"""The key under which a row counts by reason what was not asked for it; a row without refusals does not have it."""
Report = Callable[[int, int, float, float], None]
"""Told (rows done of the whole stage, rows in all, rows a second, tokens a second)."""
Left = Callable[[int, int, int], None]
"""Told, when the worker is to end, (rows done of the whole stage, rows in all, rows in the making, which are lost)."""


@dataclass(frozen=True)
class Work(Generic[Item]):
    """The rows of a stage, and `load`, which returns the inputs of rows [start, stop) and may block."""

    rows: int
    load: Callable[[int, int], Sequence[Item]]


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
    """One worker's pass over the shards of a stage. `produce` makes a row of its index and its input; `retry` is the run's."""

    output: Artifact
    work: Work[Item]
    sharding: Sharding
    produce: Callable[[int, Item], Awaitable[Made]]
    slot: Slot
    report: Report
    left: Left
    retry: str = ""
    _open: dict[int, dict[int, Row]] = field(default_factory=dict)
    _making: int = 0
    _committed: set[int] = field(default_factory=set)
    _suspects: list[int] = field(default_factory=list)
    _poison: set[int] = field(default_factory=set)
    _usage: Usage = field(default_factory=Usage)
    _pace: Pace = field(default_factory=Pace)

    def __post_init__(self) -> None:
        self._drafts = Drafts(self.output, self.sharding.per_shard)

    async def run(self) -> Usage:
        """Return what was consumed once no shard is left to begin: all are committed, or another slot is at the rest.

        Raises CorruptInput, naming them, when nothing is left but shards that kill their workers.
        """
        attempts = Attempts(self.output, self.slot.index, self.slot.slots, self.retry)
        with last_act(attempts.end), last_act(self._leave):
            try:
                await asyncio.to_thread(attempts.declare_dead)
                await self._work(attempts, self.slot.order(self.sharding.shards), alone=False)
                for shard in self._suspects:
                    await self._work(attempts, [shard], alone=True)
            except INNOCENT:
                await asyncio.to_thread(attempts.end)
                raise
            finally:
                await asyncio.to_thread(self._keep)
        await self._look()
        self._convict()
        return self._usage

    async def _work(self, attempts: Attempts, shards: Sequence[int], alone: bool) -> None:
        room = asyncio.Semaphore(self.slot.concurrency)
        try:
            async with asyncio.TaskGroup() as group:
                async for shard, index, item in self._pending(attempts, shards, alone):
                    await room.acquire()
                    group.create_task(self._one(attempts, shard, index, item, room))
        except BaseExceptionGroup as failed:
            raise _first(failed) from None

    async def _pending(self, attempts: Attempts, shards: Sequence[int], alone: bool) -> AsyncIterator[tuple[int, int, Item]]:
        for shard in shards:
            await self._look()
            if shard in self._committed or not await asyncio.to_thread(self._begins, attempts, shard, alone):
                continue
            span = self.sharding.span(shard)
            items = await asyncio.to_thread(self.work.load, span.start, span.stop)
            kept = await asyncio.to_thread(self._drafts.kept, shard)
            self._open[shard] = {index: row for index, row in kept.items() if index in span}
            await self._close_if_whole(attempts, shard)
            for index, item in zip(span, items, strict=True):
                if index not in kept:
                    yield shard, index, item

    def _begins(self, attempts: Attempts, shard: int, alone: bool) -> bool:
        """Tell whether this worker begins the shard now; a suspect is put off until nothing else is in the making."""
        history = attempts.of(shard)
        if history.poison:
            self._poison.add(shard)
        elif history.suspect and not alone:
            self._suspects.append(shard)
        else:
            return attempts.start(shard)
        return False

    async def _look(self) -> None:
        self._committed |= set(await asyncio.to_thread(self.output.commits, self.sharding.shards))
        self._tell()

    def _convict(self) -> None:
        """A shard that is poison fails the stage, but not before every other one is committed."""
        left = set(range(self.sharding.shards)) - self._committed
        if left and left <= self._poison:
            named = ", ".join(f"{shard:05d} (rows {_ends(self.sharding.span(shard))})" for shard in sorted(left)[:5])
            more = f" and {len(left) - 5} more" if len(left) > 5 else ""
            raise CorruptInput(
                f"{self.output.stage}: {named}{more} killed {STARTS} workers each; all other shards are committed. See the engine's "
                "log; a new value of spec.retry tries again, of spec.rerun with other seeds",
                "PoisonShard",
            )

    async def _one(self, attempts: Attempts, shard: int, index: int, item: Item, room: asyncio.Semaphore) -> None:
        self._making += 1
        try:
            row, usage = await self.produce(index, item)
        finally:
            self._making -= 1
            room.release()
        self._open[shard][index] = row
        full = self._drafts.add(shard, index, row)
        self._usage += usage
        self._pace.add(1, usage.completion_tokens + usage.prompt_tokens)
        self._tell()
        await self._close_if_whole(attempts, shard)
        if full:
            await asyncio.to_thread(self._drafts.keep)

    async def _close_if_whole(self, attempts: Attempts, shard: int) -> None:
        rows, span = self._open[shard], self.sharding.span(shard)
        if len(rows) == len(span):
            whole = [rows[index] for index in span]
            await asyncio.to_thread(self.output.commit_shard, shard, whole, _refused(whole))
            self._committed.add(shard)
            self._drafts.done(shard)
            attempts.done(shard)
            del self._open[shard]

    def _keep(self) -> None:
        """Write down the rows of open shards. Where the store is away they are made again."""
        try:
            self._drafts.keep()
        except (StageError, OSError) as error:
            log(f"{self.output.stage}: the rows of shards that are not whole could not be written down: {error}")

    def _leave(self) -> None:
        """The worker was told to end: keep what is made, and say what is not."""
        making = self._making
        self._keep()
        self.left(self._done(), self.work.rows, making)
        log(f"{self.output.stage}: told to end; {making} of {self.work.rows} rows were in the making and are not kept")

    def _tell(self) -> None:
        rows, tokens = self._pace.rates()
        self.report(self._done(), self.work.rows, rows * self.slot.slots, tokens * self.slot.slots)

    def _done(self) -> int:
        whole = sum(len(self.sharding.span(shard)) for shard in self._committed)
        return whole + sum(len(rows) for shard, rows in list(self._open.items()) if shard not in self._committed)


def _ends(span: range) -> str:
    return f"{span.start} to {span.stop - 1}"


def _refused(rows: Iterable[Row]) -> dict[str, int]:
    """Return what the rows say was refused, by reason."""
    counts: Counter[str] = Counter()
    for row in rows:
        if isinstance(refused := row.get(REFUSED), Mapping):
            counts.update(refused)
    return dict(sorted(counts.items()))


def _first(failed: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the failure that came first: the others are rows that fell with it."""
    inner = failed.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
