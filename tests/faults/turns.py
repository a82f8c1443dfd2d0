"""Two operators that take turns: each stops before it observes and before each write, and somebody else says who goes on."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from tests.faults.connection import Connection
from tests.faults.world import NAME, World


class Operator:
    """One operator at one run, stopped at a gate before every observation and every write."""

    def __init__(self, world: World, run: str = NAME) -> None:
        self._world, self._run = world, run
        self._look: asyncio.Task[object] | None = None
        self._gate: asyncio.Future[None] | None = None

    @property
    def busy(self) -> bool:
        return self._look is not None

    async def begin(self) -> None:
        """Set out to look, and stop before the observation."""
        connection = Connection(self._world.cluster)
        connection.gate = self._stop
        self._look = asyncio.create_task(self._world.look(self._run, through=connection))
        await self._run_to_gate()

    async def go(self) -> None:
        """Go on to the next gate, or to the end of the look."""
        assert self._gate
        self._gate.set_result(None)
        self._gate = None
        await self._run_to_gate()

    async def die(self) -> None:
        """Stop for good, where it is."""
        if self._look:
            self._look.cancel()
            await asyncio.wait([self._look])
        self._look = self._gate = None

    async def _stop(self, _: str) -> None:
        self._gate = asyncio.get_running_loop().create_future()
        await self._gate

    async def _run_to_gate(self) -> None:
        assert self._look
        while not self._look.done() and self._gate is None:
            await asyncio.sleep(0)
        if self._look.done():
            self._look.result()
            self._look = None


async def every_interleaving(start: World) -> AsyncIterator[World]:
    """Let two operators look at the same moment, in every order of their observations and writes."""
    order: Sequence[int] | None = ()
    while order is not None:
        world = start.fork()
        order = _next(await _race(world, order))
        yield world


async def _race(world: World, order: Sequence[int]) -> list[tuple[int, int]]:
    """Follow the order as far as it goes, then let the first go on; return each choice, and out of how many it was made."""
    operators = [Operator(world), Operator(world)]
    for operator in operators:
        await operator.begin()
    taken = []
    while busy := [operator for operator in operators if operator.busy]:
        choice = order[len(taken)] if len(taken) < len(order) else 0
        taken.append((choice, len(busy)))
        await busy[choice].go()
    return taken


def _next(taken: list[tuple[int, int]]) -> list[int] | None:
    """The next order of a depth-first walk; None after the last."""
    while taken:
        choice, of = taken.pop()
        if choice + 1 < of:
            return [earlier for earlier, _ in taken] + [choice + 1]
    return None
