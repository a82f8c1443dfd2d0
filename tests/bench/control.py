"""`python -m tests.bench.control --runs 10 100 1000`: what one operator costs and how fast it is, by the number of live runs.

A real control plane, the operator's own process, played pods with logs. docs/benchmarks/control.md says what each figure means.
"""

import argparse
import asyncio
import gc
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bench.fleet import Fleet
from tests.bench.latency import Transitions, summary
from tests.bench.measured import Figures, MeasuredOperator
from tests.bench.results import Phase, Result
from tests.bench.table import machine, table
from tests.control.access import Access
from tests.control.plane import ControlPlane
from tests.control.player import Player
from tests.tools import ROOT

NAMESPACE = "bench"


@dataclass(frozen=True)
class Plan:
    """How long to look and how hard to drive. `rate`: completions a second, of all runs together, in the steady phase."""

    rate: float = 2.0
    completions: int = 300
    rest_seconds: float = 60.0
    settle_seconds: float = 5.0
    last_seconds: float = 20.0
    to_the_end: bool = True


class Benchmark:
    """One size of fleet, from apply to the end."""

    def __init__(self, operator: MeasuredOperator, fleet: Fleet, transitions: Transitions, plan: Plan) -> None:
        self._operator, self._fleet, self._transitions, self._plan = operator, fleet, transitions, plan

    async def run(self) -> Result:
        """Go through the phases."""
        fleet, plan = self._fleet, self._plan
        load = _load()
        started = await self._figures()
        await fleet.apply()
        await _until(fleet.all_live, "every run has a pod at work")
        start = await self._phase(started)
        _say(f"all {len(fleet.names)} runs live, {self._transitions.jobs} Jobs, {start.figures.at:.0f} s")
        await asyncio.sleep(plan.settle_seconds)
        rest = await self._rest()
        memory = await asyncio.to_thread(self._operator.memory)
        steady = await self._steady()
        complete, jobs = None, self._transitions.jobs
        if plan.to_the_end:
            fleet.hurry()
            await _until(fleet.all_over, "every run is over")
            await asyncio.sleep(plan.settle_seconds)
            complete = await self._rest()
        last = await asyncio.to_thread(self._operator.memory)
        return Result(len(fleet.names), jobs, load, start, rest, steady, memory, complete, last)

    async def _rest(self) -> Phase:
        started = await self._figures()
        await asyncio.sleep(self._plan.rest_seconds)
        return await self._phase(started)

    async def _steady(self) -> Phase:
        """End one pod after the other, at the plan's rate."""
        started = await self._figures()
        for number in range(self._plan.completions):
            if self._fleet.all_over():
                break
            self._fleet.end_one()
            await asyncio.sleep(started.at + (number + 1) / self._plan.rate - time.monotonic())
        await asyncio.sleep(self._plan.last_seconds)  # the next Jobs of the last completions count too, late ones above all
        return await self._phase(started)

    async def _phase(self, started: Figures) -> Phase:
        seen = self._transitions.since(started.at)
        return Phase(await self._figures() - started, summary(seen) if len(seen) > 1 else None)

    async def _figures(self) -> Figures:
        return await asyncio.to_thread(self._operator.figures)


async def measure(access: Access, runs: int, plan: Plan, folder: Path) -> Result:
    """Measure with so many runs, on a control plane that has nothing else to do."""
    _prepare(access)
    operator = MeasuredOperator(access, NAMESPACE, folder)
    async with operator, Player(access, NAMESPACE) as player:
        fleet, transitions = Fleet(player, NAMESPACE, runs), Transitions(player.api, NAMESPACE)
        async with asyncio.TaskGroup() as group:
            others = [group.create_task(work) for work in (transitions.run(), fleet.make_progress())]
            async with player.playing(fleet.play):
                result = await Benchmark(operator, fleet, transitions, plan).run()
            for task in others:
                task.cancel()
    return result


def main() -> int:
    """Measure every size on a control plane of its own, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.control", description=__doc__)
    parser.add_argument("--runs", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--rate", type=float, default=Plan.rate, help="completions a second in the steady phase")
    parser.add_argument("--completions", type=int, default=Plan.completions, help="in the steady phase, at most")
    parser.add_argument("--to-the-end", type=int, default=100, metavar="RUNS", help="most runs that are played to their end")
    arguments = parser.parse_args()
    # A collection of the player's half a million objects would be measured as the operator's delay.
    gc.disable()
    results = []
    for runs in arguments.runs:
        _say(f"{runs} runs")
        plan = Plan(arguments.rate, arguments.completions, to_the_end=runs <= arguments.to_the_end)
        plane = ControlPlane()
        try:
            with tempfile.TemporaryDirectory(prefix="bench-control-") as folder:
                results.append(asyncio.run(measure(plane, runs, plan, Path(folder))))
        finally:
            plane.stop()
    print(machine(), table(results), sep="\n\n")
    return 0


def _prepare(access: Access) -> None:
    access.apply(ROOT / "crds")
    access.request("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    account = {"metadata": {"name": "rehearsal-worker"}, "automountServiceAccountToken": False}
    access.request("POST", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts", account)


async def _until(holds: Callable[[], bool], what: str, seconds: float = 1800) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        await asyncio.sleep(0.5)


def _load() -> float:
    return float(Path("/proc/loadavg").read_text().split()[0])


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
