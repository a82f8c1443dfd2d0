"""What an interruption of a sampled stage costs, and what is said of it."""

import asyncio
import hashlib
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rehearsal.api.messages import CorruptInput, Progress, Unavailable, Usage
from rehearsal.pipeline.stage import rows_per_shard
from rehearsal.store.commit import Artifact
from rehearsal.store.rows import pack
from rehearsal.worker.drafts import Drafts
from rehearsal.worker.sharding import Sharding, sharding_of
from rehearsal.worker.shards import Filling, Made, Slot, Work
from tests.unit.worker.a_worker import HANG, PER_SHARD, filling_of, output_in

STAGE = 600
BATCH = Slot(concurrency=256)


@pytest.mark.fault(81)
@given(rows=st.integers(0, 3_000_000))
def test_a_shard_has_at_most_500_rows_and_at_most_a_twentieth_of_its_stage(rows: int) -> None:
    size = rows_per_shard(rows)
    assert 1 <= size <= 500
    assert size == 1 or size * 20 <= rows
    assert Sharding(rows=rows, per_shard=size).shards <= max(39, rows // 500 + 1)


class Stage:
    """A stage of 600 rows, whose engine answers requests in any order but that of their index. `made`: rows it was asked for."""

    def __init__(self, store: Path) -> None:
        self.output, self.made = output_in(store), list[int]()

    def filling(self, killed: Path | None = None) -> Filling[int]:
        """A worker that fails after 188 rows. `killed`: where the store is copied to then, as a sudden death would leave it."""
        over = asyncio.Event()

        async def produce(index: int, _item: int) -> Made:
            await asyncio.sleep(index * 37 % 101 / 5000)
            if len(self.made) < 188:
                self.made.append(index)
                return {"id": index}, Usage()
            if over.is_set():
                await asyncio.sleep(60)
            over.set()
            await asyncio.sleep(0.3)  # what is being written down gets there
            if killed:
                shutil.copytree(store_of(self.output), killed)
            raise Unavailable("the engine is away")

        return self._filling(produce)

    def finish(self) -> list[int]:
        """Go on to the end; return the rows that were made for it."""
        self.made.clear()

        async def produce(index: int, _item: int) -> Made:
            self.made.append(index)
            return {"id": index}, Usage()

        asyncio.run(self._filling(produce).run())
        self.output.seal(sharding_of(self.output, STAGE).shards)
        assert [row["id"] for row in self.output.rows()] == list(range(STAGE))
        return self.made

    def _filling(self, produce) -> Filling[int]:  # type: ignore[no-untyped-def]
        sharding = sharding_of(self.output, STAGE)
        return Filling(self.output, Work(STAGE, range), sharding, produce, BATCH, lambda *_: None, lambda *_: None)


def store_of(output: Artifact) -> Path:
    return output.objects.root  # type: ignore[attr-defined, no-any-return]


@pytest.mark.fault(81)
def test_of_188_rows_that_were_made_a_sudden_death_loses_at_most_a_twentieth_of_the_stage(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "store")
    with pytest.raises(Unavailable):
        asyncio.run(stage.filling(killed=tmp_path / "as-killed").run())
    assert len(stage.made) == 188
    again = Stage(tmp_path / "as-killed").finish()
    assert len(again) <= STAGE - 188 + 30


@pytest.mark.fault(81)
def test_a_fault_that_has_a_name_loses_only_what_was_in_the_making(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "store")
    with pytest.raises(Unavailable):
        asyncio.run(stage.filling().run())
    before = set(stage.made)
    assert before.isdisjoint(stage.finish())


@pytest.mark.fault(40)
@pytest.mark.fault(81)
def test_a_worker_that_is_told_to_end_says_how_many_rows_it_drops_and_keeps_the_others(tmp_path: Path) -> None:
    arguments = [str(tmp_path), "0", "1", "4", "10", "", f"{HANG}3"]
    worker = subprocess.Popen(
        [sys.executable, "-m", "tests.unit.worker.a_worker", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert worker.stdout
    for _ in range(4):
        assert worker.stdout.readline() == "hanging\n"
    worker.send_signal(signal.SIGTERM)
    said, words = worker.communicate(timeout=300)
    assert worker.returncode == 143
    assert words == "respond-peer: told to end; 4 of 10 rows were in the making and are not kept\n"
    assert Progress.model_validate_json(said) == Progress(done=3, total=10, dropped=4)

    made: list[int] = []

    async def produce(index: int, _item: int) -> Made:
        made.append(index)
        return {"id": index}, Usage()

    asyncio.run(filling_of(tmp_path, 10, produce, Slot()).run())
    assert made == [3, 4, 5, 6, 7, 8, 9]


def test_a_draft_that_is_damaged_is_not_used(tmp_path: Path) -> None:
    output = output_in(tmp_path)
    drafts = Drafts(output, most=PER_SHARD)
    assert not drafts.add(3, 6, {"id": 6})
    drafts.keep()
    assert drafts.kept(3) == {6: {"id": 6}}
    (key,) = output.objects.list(f"{output.layout.shards}00003/drafts/")
    output.objects.put(key, b"something else")
    assert drafts.kept(3) == {}


@pytest.mark.parametrize("data", [b"no zstd", pack([{"index": 6}])[0], pack([{"row": {}}])[0]])
def test_a_file_of_somebody_elses_among_drafts_is_not_used(tmp_path: Path, data: bytes) -> None:
    output = output_in(tmp_path)
    output.objects.put(f"{output.layout.shards}00003/drafts/{hashlib.sha256(data).hexdigest()}.jsonl.zst", data)
    assert Drafts(output, most=PER_SHARD).kept(3) == {}


def test_rows_of_committed_shards_are_not_held(tmp_path: Path) -> None:
    drafts = Drafts(output_in(tmp_path), most=PER_SHARD)
    assert [drafts.add(0, index, {"id": index}) for index in range(PER_SHARD)] == [False, True]
    drafts.done(0)
    drafts.keep()
    assert drafts.kept(0) == {}


def test_a_resumed_stage_keeps_to_the_size_that_its_first_worker_recorded(tmp_path: Path) -> None:
    output = output_in(tmp_path)
    output.settle("sharding.json", Sharding(rows=STAGE, per_shard=500).stored)
    assert sharding_of(output, STAGE).per_shard == 500
    with pytest.raises(CorruptInput, match=r"respond-peer: .*sharding.json is for 600 rows, the stage has 599; remove that folder"):
        sharding_of(output, STAGE - 1)
    output.objects.put(f"{output.layout.prefix}/sharding.json", b"{}")
    with pytest.raises(CorruptInput, match="cannot be read"):
        sharding_of(output, STAGE)
