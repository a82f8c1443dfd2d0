import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rehearsal.api.messages import CorruptInput, DeviceUnusable, Unavailable, Usage
from rehearsal.store.commit import Artifact
from rehearsal.store.folder import FolderStore
from rehearsal.worker.pace import WINDOW_SECONDS, Pace
from rehearsal.worker.sharding import Sharding
from rehearsal.worker.shards import Filling, Made, Slot, Work

FIVE = Slot(concurrency=5)
SPENT = Usage(prompt_tokens=1, completion_tokens=2)
Reported = list[tuple[int, int, float, float]]


def an_output(folder: Path) -> Artifact:
    store = FolderStore(folder)
    store.prepare()
    return Artifact(store, "research", "elicit", "f" * 64, "elicit")


def squares(rows: int) -> Work[int]:
    return Work(rows, lambda start, stop: [index * index for index in range(start, stop)])


def fours(work: Work[int]) -> Sharding:
    return Sharding(rows=work.rows, per_shard=4)


def nobody(*_figures: int) -> None:
    """Is told, and does not care."""


async def at_once(index: int, item: int) -> Made:
    return {"id": index, "square": item}, SPENT


def fill(output: Artifact, work: Work[int], produce=at_once, slot: Slot = FIVE) -> tuple[Usage, Reported]:
    told: Reported = []
    usage = asyncio.run(Filling(output, work, fours(work), produce, slot, lambda *figures: told.append(figures), nobody).run())
    return usage, told


def rows_of(output: Artifact, work: Work[int]) -> list[dict[str, int]]:
    output.seal(fours(work).shards)
    return list(output.rows())


def expected(rows: int) -> list[dict[str, int]]:
    return [{"id": index, "square": index * index} for index in range(rows)]


def test_rows_are_in_the_order_of_their_index_whatever_the_order_they_finish_in(tmp_path: Path):
    async def at_some_time(index: int, item: int) -> Made:
        await asyncio.sleep(index * 7 % 5 / 1000)
        return await at_once(index, item)

    output, work = an_output(tmp_path), squares(30)
    usage, told = fill(output, work, at_some_time)
    assert rows_of(output, work) == expected(30)
    assert usage == Usage(prompt_tokens=30, completion_tokens=60)
    assert told[-1][:2] == (30, 30)
    assert [done for done, *_ in told] == sorted(done for done, *_ in told)


def test_the_longest_answer_of_a_shard_does_not_keep_the_next_shard_from_starting(tmp_path: Path):
    async def first_row_waits_for_the_third_shard(index: int, item: int) -> Made:
        if index == 0:
            await third.wait()
        if index == 8:
            third.set()
        return await at_once(index, item)

    third = asyncio.Event()
    output, work = an_output(tmp_path), squares(12)
    fill(output, work, first_row_waits_for_the_third_shard)
    assert rows_of(output, work) == expected(12)


def test_as_many_rows_as_asked_are_in_the_making_and_never_more(tmp_path: Path):
    making, most, seven = 0, 0, asyncio.Event()

    async def counted(index: int, item: int) -> Made:
        nonlocal making, most
        making += 1
        most = max(most, making)
        if making == 7:
            seven.set()
        async with asyncio.timeout(60):  # the next shard is begun meanwhile, which takes as long as the disk does
            await seven.wait()
        await asyncio.sleep(0.05)
        making -= 1
        return await at_once(index, item)

    fill(an_output(tmp_path), squares(40), counted, Slot(concurrency=7))
    assert most == 7


def test_a_committed_shard_is_not_generated_again(tmp_path: Path):
    output, work = an_output(tmp_path), squares(12)
    output.commit_shard(1, [{"id": "kept"}] * 4)
    made: list[int] = []

    async def noted(index: int, item: int) -> Made:
        made.append(index)
        return await at_once(index, item)

    _, told = fill(output, work, noted)
    assert sorted(made) == [0, 1, 2, 3, 8, 9, 10, 11]
    assert told[0][:2] == (4, 12)
    assert rows_of(output, work)[4:8] == [{"id": "kept"}] * 4


def test_a_shard_that_another_slot_commits_meanwhile_is_skipped(tmp_path: Path):
    output, work = an_output(tmp_path), squares(12)
    made: list[int] = []

    async def while_another_commits(index: int, item: int) -> Made:
        made.append(index)
        output.commit_shard(2, [{"id": "theirs"}] * 4)
        return await at_once(index, item)

    fill(output, work, while_another_commits, Slot(concurrency=1))
    assert made == list(range(8))
    assert rows_of(output, work)[8:] == [{"id": "theirs"}] * 4


@given(shards=st.integers(1, 40), slots=st.integers(1, 9))
def test_slots_start_apart_and_each_would_take_every_shard(shards: int, slots: int):
    orders = [Slot(index, slots).order(shards) for index in range(slots)]
    assert all(sorted(order) == list(range(shards)) for order in orders)
    assert slots > shards or len({order[0] for order in orders}) == slots


def test_two_slots_share_a_stage(tmp_path: Path):
    output, work = an_output(tmp_path), squares(37)
    told: Reported = []

    async def both() -> None:
        slots = [Slot(index, 2, 3) for index in range(2)]
        await asyncio.gather(
            *(Filling(output, work, fours(work), at_once, slot, lambda *f: told.append(f), nobody).run() for slot in slots)
        )

    asyncio.run(both())
    assert rows_of(output, work) == expected(37)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deaths=st.lists(st.integers(1, 25), max_size=5), rows=st.integers(1, 23), concurrency=st.integers(1, 9))
def test_however_often_it_dies_each_row_takes_effect_once(
    tmp_path_factory: pytest.TempPathFactory, deaths: list[int], rows: int, concurrency: int
):
    output, work = an_output(tmp_path_factory.mktemp("store")), squares(rows)
    for death in deaths:
        left = Counter(before=death)

        async def mortal(index: int, item: int, left: Counter[str] = left) -> Made:
            left["before"] -= 1
            if left["before"] < 0:
                raise Unavailable("gone")
            return await at_once(index, item)

        committed = output.commits()
        try:
            fill(output, work, mortal, Slot(concurrency=concurrency))
        except Unavailable:
            assert len(output.commits()) < fours(work).shards
        assert committed.items() <= output.commits().items()
    fill(output, work, slot=Slot(concurrency=concurrency))
    assert rows_of(output, work) == expected(rows)


@pytest.mark.parametrize("error", [DeviceUnusable("gone"), CorruptInput("broken")])
def test_a_fault_comes_out_as_itself(tmp_path: Path, error: Exception):
    async def failing(_index: int, _item: int) -> Made:
        raise error

    with pytest.raises(type(error), match=str(error)):
        fill(an_output(tmp_path), squares(9), failing)


def test_inputs_that_cannot_be_read_come_out_as_themselves(tmp_path: Path):
    def broken(_start: int, _stop: int) -> list[int]:
        raise CorruptInput("broken")

    with pytest.raises(CorruptInput, match="broken"):
        fill(an_output(tmp_path), Work(9, broken))


def test_inputs_are_loaded_shard_by_shard(tmp_path: Path):
    spans: list[tuple[int, int]] = []

    def load(start: int, stop: int) -> range:
        spans.append((start, stop))
        return range(start, stop)

    fill(an_output(tmp_path), Work(10, load))
    assert spans == [(0, 4), (4, 8), (8, 10)]


def a_clock(*times: float) -> Callable[[], float]:
    return iter(times).__next__


def test_pace_counts_what_came_in_the_last_half_minute():
    pace = Pace(a_clock(0, 1, 2, 10, WINDOW_SECONDS + 1.5))
    pace.add(1, 100)
    pace.add(1, 300)
    assert pace.rates() == (0.2, 40)
    assert pace.rates() == (1 / WINDOW_SECONDS, 300 / WINDOW_SECONDS)


def test_pace_of_nothing_is_nought():
    assert Pace(a_clock(3, 3)).rates() == (0, 0)
