"""The keyed queue: coalescing, one holder a key, news before looks by the clock, back-off."""

import asyncio

import pytest

from rehearsal.controller.queue import BY_CLOCK, FIRST_RETRY, LAST_RETRY, Queue
from tests.unit.controller.virtual_time import now, virtual_time

A, B, C = ("ns", "a"), ("ns", "b"), ("ns", "c")


async def nothing_comes(queue: Queue, seconds: float) -> bool:
    """Whether no key falls due within that time."""
    try:
        async with asyncio.timeout(seconds):
            await queue.take()
    except TimeoutError:
        return True
    return False


@pytest.mark.fault(9)
@virtual_time
async def test_many_wakes_of_a_key_are_one() -> None:
    queue = Queue()
    for _ in range(5):
        queue.wake(A)
    assert await queue.take() == A
    queue.done(A)
    assert await nothing_comes(queue, 3600)


@virtual_time
async def test_news_comes_in_the_order_in_which_it_came() -> None:
    queue = Queue()
    for key in (B, A, C):
        queue.wake(key)
    assert [await queue.take() for _ in range(3)] == [B, A, C]


@virtual_time
async def test_looks_by_the_clock_come_in_the_order_of_their_dates() -> None:
    queue = Queue()
    for key, after in ((C, 3), (A, 1), (B, 2)):
        queue.wake(key, after)
    await asyncio.sleep(5)
    assert [await queue.take() for _ in range(BY_CLOCK)] == [A, B]
    queue.done(A)
    assert await queue.take() == C


@pytest.mark.fault(25)
@virtual_time
async def test_news_waits_for_one_look_by_the_clock_and_no_more() -> None:
    queue = Queue()
    for key in (A, B):
        queue.wake(key, after=1)
    await asyncio.sleep(2)
    queue.wake(C)
    assert [await queue.take() for _ in range(3)] == [A, C, B]


@pytest.mark.fault(25)
@virtual_time
async def test_under_news_without_end_looks_by_the_clock_still_come() -> None:
    queue, seen = Queue(), []
    queue.wake(A, after=1)
    await asyncio.sleep(2)
    for _ in range(4):
        queue.wake(B)
        queue.wake(C)
        seen.append(key := await queue.take())
        queue.done(key)
    assert A in seen


@virtual_time
async def test_news_of_a_key_that_had_a_date_needs_no_second_look() -> None:
    queue = Queue()
    queue.wake(A, after=5)
    queue.wake(A)
    assert await queue.take() == A
    queue.done(A)
    assert await nothing_comes(queue, 3600)


@virtual_time
async def test_a_look_by_the_clock_waits_until_one_of_the_few_at_work_is_over() -> None:
    queue = Queue()
    for key in (A, B, C):
        queue.wake(key, after=1)
    held = [await queue.take() for _ in range(BY_CLOCK)]
    taker = asyncio.create_task(queue.take())
    await asyncio.sleep(60)
    assert not taker.done()
    queue.done(held[0])
    assert await taker == C


@pytest.mark.fault(25)
@virtual_time
async def test_a_key_that_is_woken_all_the_time_does_not_starve_the_others() -> None:
    queue, seen = Queue(), []
    for key in (A, B, C):
        queue.wake(key)
    for _ in range(4):
        key = await queue.take()
        seen.append(key)
        if key == A:
            queue.wake(A)
        queue.done(key)
    assert seen == [A, B, C, A]


@virtual_time
async def test_a_key_has_one_holder_at_a_time() -> None:
    queue = Queue()
    queue.wake(A)
    await queue.take()
    queue.wake(A)
    assert await nothing_comes(queue, 3600)


@virtual_time
async def test_a_wake_that_comes_while_its_key_is_held_is_kept() -> None:
    queue = Queue()
    queue.wake(A)
    await queue.take()
    queue.wake(A)
    queue.done(A)
    assert await queue.take() == A


@virtual_time
async def test_a_delayed_wake_comes_at_its_time() -> None:
    queue = Queue()
    queue.wake(A, after=30)
    await queue.take()
    assert now() == pytest.approx(30)


@pytest.mark.parametrize("delays", [(30, 5), (5, 30), (5, 5)])
def test_the_earlier_of_two_wakes_counts_and_the_other_is_forgotten(delays: tuple[float, float]) -> None:
    @virtual_time
    async def scenario() -> None:
        queue = Queue()
        for delay in delays:
            queue.wake(A, after=delay)
        await queue.take()
        assert now() == pytest.approx(5)
        queue.done(A)
        assert await nothing_comes(queue, 3600)

    scenario()


@virtual_time
async def test_an_earlier_wake_stirs_whoever_waits_for_a_later_one() -> None:
    queue = Queue()
    queue.wake(A, after=60)
    taker = asyncio.create_task(queue.take())
    await asyncio.sleep(1)
    queue.wake(B, after=2)
    assert await taker == B
    assert now() == pytest.approx(3)


@virtual_time
async def test_back_off_doubles_up_to_a_limit_and_success_forgets_it() -> None:
    queue, waits = Queue(jitter=lambda: 1.0), []
    queue.wake(A)
    for _ in range(12):
        await queue.take()
        waits.append(queue.failed(A))
    assert waits[:4] == [1, 2, 4, 8]
    assert waits[-1] == LAST_RETRY
    await queue.take()
    queue.done(A)
    queue.wake(A)
    await queue.take()
    assert queue.failed(A) == FIRST_RETRY


@virtual_time
async def test_back_off_is_spread_out() -> None:
    waits = []
    for share in (0.0, 0.5, 1.0):
        queue = Queue(jitter=lambda share=share: share)
        queue.wake(A)
        await queue.take()
        waits.append(queue.failed(A))
    assert waits == [0.5, 0.75, 1.0]


@pytest.mark.fault(14)
@virtual_time
async def test_retry_after_is_obeyed_whatever_wakes_the_key() -> None:
    queue = Queue()
    queue.wake(A)
    await queue.take()
    queue.wake(A)
    queue.failed(A, retry_after=20)
    queue.wake(A)
    await queue.take()
    assert 20 <= now() <= 21 + FIRST_RETRY


@virtual_time
async def test_an_event_brings_a_retry_forward_but_never_to_at_once() -> None:
    queue = Queue(jitter=lambda: 1.0)
    queue.wake(A)
    for _ in range(9):
        await queue.take()
        queue.failed(A)
    failed_at = now()
    queue.wake(A)
    await queue.take()
    assert now() - failed_at == pytest.approx(FIRST_RETRY)


@virtual_time
async def test_a_failing_key_holds_no_other_back() -> None:
    queue = Queue()
    queue.wake(A)
    await queue.take()
    queue.failed(A, retry_after=600)
    queue.wake(B)
    assert await queue.take() == B
    assert now() == 0


@virtual_time
async def test_depth_counts_what_is_due_and_not_yet_held() -> None:
    queue = Queue()
    for key in (A, B):
        queue.wake(key)
    queue.wake(C, after=60)
    await queue.take()
    queue.wake(A)
    assert queue.depth() == 1


@virtual_time
async def test_a_closed_queue_hands_out_nothing_more() -> None:
    queue = Queue()
    taker = asyncio.create_task(queue.take())
    await asyncio.sleep(1)
    queue.wake(A, after=5)
    queue.close()
    assert await taker is None
    queue.wake(B)
    assert await queue.take() is None


@pytest.mark.fault(25)
@virtual_time
async def test_a_thousand_keys_share_the_workers_without_a_double_visit() -> None:
    queue, at_work, visits = Queue(), set(), dict.fromkeys([("ns", str(n)) for n in range(1000)], 0)

    async def work() -> None:
        while (key := await queue.take()) is not None:
            assert key not in at_work
            at_work.add(key)
            await asyncio.sleep(0.01)
            at_work.discard(key)
            visits[key] += 1
            queue.done(key)

    workers = [asyncio.create_task(work()) for _ in range(8)]
    for _ in range(3):
        for key in visits:
            queue.wake(key)
        await asyncio.sleep(0.5)
    await asyncio.sleep(60)
    queue.close()
    await asyncio.gather(*workers)
    assert min(visits.values()) >= 1
    assert sum(visits.values()) <= 3000
