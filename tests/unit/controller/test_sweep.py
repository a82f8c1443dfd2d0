"""The sweep: regular, unstoppable, and the measure of the operator's liveness."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest

from rehearsal.cluster.port import Forbidden, Unavailable
from rehearsal.controller.metrics import Metrics
from rehearsal.controller.queue import Key
from rehearsal.controller.sweep import LONGEST_SECONDS, STALE_SECONDS, Sweep
from tests.unit.controller.virtual_time import now, virtual_time

A, B, C = ("ns", "a"), ("ns", "b"), ("ns", "c")
EVERY = 60.0


@dataclass
class Bench:
    """A sweep over a world that answers what was put down for it, then nothing new; a float is a list that takes so long."""

    answers: list[set[Key] | Exception | float] = field(default_factory=list)
    undated: Iterable[Key] = ()
    lists: list[float] = field(default_factory=list)
    woken: list[tuple[float, Key]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.metrics = Metrics()
        self.sweep = Sweep(self.refresh, lambda: self.undated, lambda key: self.woken.append((now(), key)), EVERY, self.metrics)

    async def refresh(self) -> Iterable[Key]:
        self.lists.append(now())
        answer = self.answers.pop(0) if self.answers else set()
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, float):
            await asyncio.sleep(answer)
            return set()
        return answer

    async def run(self, seconds: float) -> None:
        task = asyncio.create_task(self.sweep.run())
        await asyncio.sleep(seconds)
        task.cancel()


@pytest.mark.fault(11)
@virtual_time
async def test_what_changed_unseen_is_woken_by_the_next_sweep() -> None:
    bench = Bench([set(), {A}])
    await bench.run(3 * EVERY)
    assert bench.woken == [(EVERY, A)]


@virtual_time
async def test_runs_without_a_date_are_woken_by_every_sweep() -> None:
    bench = Bench(undated={B})
    await bench.run(2.5 * EVERY)
    assert bench.woken == [(0, B), (EVERY, B), (2 * EVERY, B)]


@virtual_time
async def test_a_long_sweep_does_not_shift_the_next_one() -> None:
    bench = Bench([20.0])
    await bench.run(1.5 * EVERY)
    assert bench.lists == [0, EVERY]


@pytest.mark.fault(13)
@virtual_time
async def test_ten_minutes_without_an_api_server_restart_nothing_and_the_next_sweep_is_soon() -> None:
    bench = Bench([set()] + [Unavailable("refused")] * 15)
    task = asyncio.create_task(bench.sweep.run())
    await asyncio.sleep(EVERY + 600)
    assert bench.sweep.alive
    assert bench.lists[1:8] == [60, 61, 63, 67, 75, 91, 123]
    await asyncio.sleep(2 * EVERY)
    assert bench.sweep.age() <= EVERY
    task.cancel()


@pytest.mark.fault(14)
@virtual_time
async def test_a_sweep_obeys_retry_after() -> None:
    bench = Bench([Unavailable("too many requests", retry_after=45)])
    await bench.run(50)
    assert bench.lists == [0, 45]


@pytest.mark.fault(12)
@virtual_time
async def test_liveness_fails_when_no_sweep_completes() -> None:
    bench = Bench([Forbidden("may not list Pod")] * 1000)
    task = asyncio.create_task(bench.sweep.run())
    await asyncio.sleep(STALE_SECONDS + 1)
    assert not bench.sweep.alive
    assert not bench.sweep.swept.is_set()
    task.cancel()


@virtual_time
async def test_a_list_that_hangs_is_begun_anew() -> None:
    bench = Bench([1e9])
    await bench.run(LONGEST_SECONDS + 2)
    assert bench.lists == [0, LONGEST_SECONDS + 1]


@virtual_time
async def test_a_bug_in_the_sweep_is_counted_and_survived(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench([KeyError("oops"), {A}])
    await bench.run(10)
    assert bench.woken == [(1, A)]
    assert bench.metrics.registry.get_sample_value("rehearsal_errors_total", {"kind": "Bug"}) == 1
    assert "Traceback" in caplog.text


@virtual_time
async def test_the_age_is_a_metric() -> None:
    bench = Bench()
    await bench.run(1.5 * EVERY)
    assert bench.metrics.registry.get_sample_value("rehearsal_sweep_age_seconds") == pytest.approx(30)
    assert bench.metrics.registry.get_sample_value("rehearsal_sweep_seconds_count") == 2
