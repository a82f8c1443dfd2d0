"""A shard that kills every worker that touches it is found out, and is the only one that is."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rehearsal.api.messages import CorruptInput, DeviceUnusable, StageError, Unavailable, Usage
from rehearsal.worker.attempts import STARTS, Attempts
from rehearsal.worker.shards import Made, Slot
from tests.unit.worker.a_worker import HANG, filling_of, output_in

ROWS = 10


def start(
    store: Path, *killers: str, slot: int = 0, slots: int = 1, concurrency: int = 4, retry: str = ""
) -> subprocess.Popen[str]:
    arguments = [str(store), str(slot), str(slots), str(concurrency), str(ROWS), retry, *killers]
    command = [sys.executable, "-m", "tests.unit.worker.a_worker", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(worker: subprocess.Popen[str]) -> tuple[int, str]:
    _, words = worker.communicate(timeout=300)
    return worker.returncode, words


class Dead(Exception):
    """What no program foresees."""


def fill(store: Path, killers: set[int], slot: Slot, error: Callable[[], BaseException] = Dead, retry: str = "") -> None:
    async def produce(index: int, _item: int) -> Made:
        await asyncio.sleep(0 if index in killers else 0.02)  # what is in the making with a killer falls with it
        if index in killers:
            raise error()
        return {"id": index}, Usage()

    asyncio.run(filling_of(store, ROWS, produce, slot, retry).run())


def convicted(store: Path, killers: set[int], **how) -> str:
    """Let workers die, each followed by the next, until one says why; three deaths a shard are enough for that."""
    for _ in range(STARTS * ROWS + 1):
        try:
            fill(store, killers, Slot(concurrency=4), **how)
        except (Dead, DeviceUnusable):
            continue
        except CorruptInput as error:
            assert error.reason == "PoisonShard"
            return str(error)
    raise AssertionError("nobody was convicted")


@pytest.mark.fault(62)
def test_a_shard_that_kills_its_workers_is_named_and_all_others_are_committed(tmp_path: Path) -> None:
    codes = [ended(start(tmp_path, "4")) for _ in range(STARTS + 1)]
    assert [code for code, _ in codes] == [137] * STARTS + [65]
    assert "PoisonShard: respond-peer: 00002 (rows 4 to 5) killed 3 workers each" in codes[-1][1]
    assert set(output_in(tmp_path).commits()) == {0, 1, 3, 4}
    assert ended(start(tmp_path, "4"))[0] == 65, "asked again, it says so at once"


@pytest.mark.fault(62)
def test_a_new_value_of_retry_tries_the_shard_again(tmp_path: Path) -> None:
    convicted(tmp_path, {4})
    with pytest.raises(CorruptInput):
        fill(tmp_path, set(), Slot())
    fill(tmp_path, set(), Slot(), retry="2")
    assert set(output_in(tmp_path).commits()) == {0, 1, 2, 3, 4}


@pytest.mark.fault(62)
def test_a_shard_that_breaks_the_engine_is_one_that_kills(tmp_path: Path) -> None:
    assert "00000 (rows 0 to 1)" in convicted(tmp_path, {1}, error=lambda: DeviceUnusable("the engine is gone"))


@pytest.mark.fault(40)
@pytest.mark.fault(62)
def test_workers_that_are_drained_convict_nobody(tmp_path: Path) -> None:
    for _ in range(STARTS + 1):
        worker = start(tmp_path, f"{HANG}0")
        assert worker.stdout
        worker.stdout.readline()
        worker.send_signal(signal.SIGTERM)
        assert ended(worker)[0] == 143
    history = Attempts(output_in(tmp_path), 0, 1, "").of(0)
    assert (len(history.ended), history.open, history.died) == (STARTS + 1, set(), set())
    assert ended(start(tmp_path))[0] == 0
    assert len(output_in(tmp_path).commits()) == ROWS // 2


def test_what_is_no_shards_fault_convicts_nobody(tmp_path: Path) -> None:
    for _ in range(STARTS + 2):
        with pytest.raises(Unavailable):
            fill(tmp_path, {4}, Slot(), error=lambda: Unavailable("the store is away"))
    fill(tmp_path, set(), Slot())


@pytest.mark.fault(62)
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    killers=st.sets(st.integers(0, ROWS - 1), min_size=1, max_size=3),
    concurrency=st.integers(1, ROWS),
    turns=st.lists(st.integers(0, 2), max_size=8),
)
def test_only_the_guilty_are_convicted_whoever_dies_of_them_in_whichever_turn(
    tmp_path_factory: pytest.TempPathFactory, killers: set[int], concurrency: int, turns: list[int]
) -> None:
    store = tmp_path_factory.mktemp("store")
    guilty = {row // 2 for row in killers}
    words = ""
    for slot in (*turns, *list(range(3)) * (STARTS * ROWS)):
        try:
            fill(store, killers, Slot(slot, 3, concurrency))
        except Dead:
            continue
        except StageError as error:
            words = str(error)
            break
    assert [f"{shard:05d} (" in words for shard in range(ROWS // 2)] == [shard in guilty for shard in range(ROWS // 2)]
    assert set(output_in(store).commits()) == set(range(ROWS // 2)) - guilty


def test_a_shard_is_not_begun_where_three_are_at_it_and_the_slot_goes(tmp_path: Path) -> None:
    for slot in (1, 2, 3):
        assert Attempts(output_in(tmp_path), slot, 4, "").start(2)
    fill(tmp_path, {4, 5}, Slot(0, 4))
    assert set(output_in(tmp_path).commits()) == {0, 1, 3, 4}
    assert not Attempts(output_in(tmp_path), 0, 4, "").start(2)


def test_the_starts_of_slots_that_are_no_more_are_dead(tmp_path: Path) -> None:
    assert Attempts(output_in(tmp_path), 7, 8, "").start(2)
    history = Attempts(output_in(tmp_path), 0, 2, "").declare_dead().of(2)
    assert (history.died, history.suspect) == ({1}, False)


def test_of_two_that_begin_a_shard_at_once_each_has_a_start_of_its_own(tmp_path: Path) -> None:
    both = [Attempts(output_in(tmp_path), slot, 2, "") for slot in (0, 1)]
    assert [attempts.start(0) for attempts in both] == [True, True]
    both[0].end()
    history = both[0].of(0)
    assert (history.started, history.open) == ({1, 2}, {2})


def test_a_worker_that_is_told_to_end_while_it_notes_a_start_ends_that_one_too_and_starts_no_more(tmp_path: Path) -> None:
    attempts = Attempts(output_in(tmp_path), 0, 1, "")
    ending = Thread(target=attempts.end)

    class Slow:
        """The store, in which a start is noted just when the worker is told to end."""

        def create(self, key: str, body: bytes) -> bool:
            noted = objects.create(key, body)
            if not key.endswith(".ended"):
                ending.start()
                ending.join(0.1)
            return noted

        def __getattr__(self, name: str) -> object:
            return getattr(objects, name)

    objects, attempts._objects = attempts._objects, Slow()
    assert attempts.start(2)
    ending.join()
    assert (attempts.of(2).started, attempts.of(2).open) == ({1}, set())
    assert not attempts.start(3)
