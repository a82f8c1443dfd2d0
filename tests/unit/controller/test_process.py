"""How the process ends: orderly when told to, with an error when any part of it ends by itself."""

import asyncio
import logging

import pytest

from rehearsal.controller.process import GRACE_SECONDS, run_until
from rehearsal.controller.queue import Queue
from tests.unit.controller.virtual_time import now, virtual_time

A = ("ns", "a")


def forever() -> "asyncio.Task[None]":
    return asyncio.create_task(asyncio.sleep(1e9), name="sweep")


def worker(queue: Queue, visit: float) -> "asyncio.Task[None]":
    async def work() -> None:
        while (key := await queue.take()) is not None:
            await asyncio.sleep(visit)
            queue.done(key)

    return asyncio.create_task(work(), name="visits")


async def end_at(seconds: float, stop: asyncio.Event) -> None:
    await asyncio.sleep(seconds)
    stop.set()


@virtual_time
async def test_told_to_end_it_lets_visits_finish_and_takes_no_new_ones() -> None:
    stop, queue = asyncio.Event(), Queue()
    queue.wake(A)
    at_work = worker(queue, visit=4)
    teller = asyncio.create_task(end_at(1, stop))
    queue.wake(("ns", "later"), after=2)
    assert await run_until(stop, queue, [at_work], [forever()]) == 0
    assert now() == pytest.approx(4)
    assert (at_work.done(), at_work.cancelled(), teller.done()) == (True, False, True)


@virtual_time
async def test_a_visit_that_does_not_end_is_cut_short() -> None:
    stop, queue = asyncio.Event(), Queue()
    queue.wake(A)
    at_work = worker(queue, visit=1e6)
    teller = asyncio.create_task(end_at(1, stop))
    assert await run_until(stop, queue, [at_work], [forever()]) == 0
    assert now() == pytest.approx(1 + GRACE_SECONDS)
    assert (at_work.cancelled(), teller.done()) == (True, True)


@pytest.mark.fault(12)
@pytest.mark.parametrize("words", ["watch", "sweep", "visits"])
def test_when_any_part_ends_the_process_ends_and_names_it(words: str, caplog: pytest.LogCaptureFixture) -> None:
    @virtual_time
    async def scenario() -> None:
        async def die() -> None:
            await asyncio.sleep(5)
            raise RuntimeError("no more news")

        dying = asyncio.create_task(die(), name=words)
        with caplog.at_level(logging.CRITICAL):
            assert await run_until(asyncio.Event(), queue := Queue(), [worker(queue, 1)], [forever(), dying]) == 70

    scenario()
    (record,) = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert record.getMessage() == f"{words} ended, and so does the process"
    assert "no more news" in caplog.text


@pytest.mark.fault(12)
@virtual_time
async def test_a_part_that_ends_without_an_error_ends_the_process_too() -> None:
    quiet = asyncio.create_task(asyncio.sleep(1), name="watch")
    assert await run_until(asyncio.Event(), Queue(), [forever()], [quiet]) == 70
