"""Checkpoints in a folder store: sealed or not there."""

from pathlib import Path

import pytest

from rehearsal.api.messages import CorruptInput, Refused
from rehearsal.api.platform import FolderStore, StoreConfig
from rehearsal.store.commit import Artifact
from rehearsal.store.open import open_store
from rehearsal.worker.checkpoints import Checkpoints, World

WORLD = World(plan_digest="a" * 64, ranks=2, zero_stage=2, offload=False)


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    store = open_store(StoreConfig(folder=FolderStore(path=str(tmp_path / "store"))))
    return Checkpoints(Artifact(store, "research", "train", "f" * 64, "train"))


def written(folder: Path, text: str = "weights") -> Path:
    """A checkpoint as DeepSpeed leaves it: files of every rank."""
    folder.mkdir(parents=True)
    for name in ("mp_rank_00_model_states.pt", "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt"):
        (folder / name).write_text(f"{text} {name}")
    return folder


def test_a_sealed_checkpoint_comes_back_file_by_file(checkpoints: Checkpoints, tmp_path: Path) -> None:
    folder = written(tmp_path / "12")
    checkpoints.save(folder, 12, WORLD)
    seal = checkpoints.latest()
    assert seal is not None
    fetched = checkpoints.fetch(seal, WORLD, tmp_path / "into")
    assert fetched == tmp_path / "into" / "12"
    assert {path.name: path.read_text() for path in fetched.iterdir()} == {path.name: path.read_text() for path in folder.iterdir()}


def test_the_checkpoint_of_most_steps_is_the_latest(checkpoints: Checkpoints, tmp_path: Path) -> None:
    for step in (9, 100, 20):
        checkpoints.save(written(tmp_path / str(step)), step, WORLD)
    latest = checkpoints.latest()
    assert latest is not None
    assert latest.step == 100


@pytest.mark.fault(57)
def test_files_without_a_seal_are_no_checkpoint(checkpoints: Checkpoints, tmp_path: Path) -> None:
    assert checkpoints.latest() is None
    prefix = f"{checkpoints.artifact.layout.prefix}/checkpoints"
    checkpoints.artifact.objects.put(f"{prefix}/50/files/mp_rank_00_model_states.pt", b"half")
    assert checkpoints.latest() is None


def test_a_seal_that_stands_is_not_replaced(checkpoints: Checkpoints, tmp_path: Path) -> None:
    first = checkpoints.save(written(tmp_path / "a"), 5, WORLD)
    again = checkpoints.save(written(tmp_path / "b"), 5, WORLD)
    assert again == first


@pytest.mark.fault(59)
@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"ranks": 4}, "ranks 2 then and 4 now"),
        ({"plan_digest": "b" * 64}, "plan_digest"),
        ({"zero_stage": 3}, "zero_stage 2 then and 3 now"),
    ],
)
def test_a_checkpoint_of_another_world_is_refused_and_says_what_differs(
    checkpoints: Checkpoints, tmp_path: Path, other: dict[str, object], words: str
) -> None:
    seal = checkpoints.save(written(tmp_path / "5"), 5, WORLD)
    with pytest.raises(Refused, match=words) as error:
        checkpoints.fetch(seal, WORLD.model_copy(update=other), tmp_path / "into")
    assert error.value.reason == "CheckpointMismatch"
    assert not (tmp_path / "into").exists()


def test_a_file_that_changed_after_the_seal_is_never_given_to_deepspeed(checkpoints: Checkpoints, tmp_path: Path) -> None:
    seal = checkpoints.save(written(tmp_path / "5"), 5, WORLD)
    key = f"{checkpoints.artifact.layout.prefix}/checkpoints/5/files/mp_rank_00_model_states.pt"
    checkpoints.artifact.objects.put(key, b"a pickle of someone else's")
    with pytest.raises(CorruptInput, match="is not what was sealed"):
        checkpoints.fetch(seal, WORLD, tmp_path / "into")


def test_a_seal_cannot_name_a_file_outside_its_folder(checkpoints: Checkpoints, tmp_path: Path) -> None:
    seal = checkpoints.save(written(tmp_path / "5"), 5, WORLD).model_copy(update={"files": {"../../etc/passwd": "0" * 64}})
    with pytest.raises(CorruptInput, match="outside"):
        checkpoints.fetch(seal, WORLD, tmp_path / "into")
