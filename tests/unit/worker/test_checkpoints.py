"""Checkpoints in a folder store: sealed or not there."""

from pathlib import Path

import pytest

from rehearsal.api.messages import CorruptInput, Refused
from rehearsal.api.platform import FolderStore, StoreConfig
from rehearsal.store.commit import Artifact
from rehearsal.store.open import open_store
from rehearsal.worker.checkpoints import Checkpoints, World
from rehearsal.worker.node import Node

WORLD = World(plan_digest="a" * 64, ranks=2, zero_stage=2, offload=False)
ALONE = Node(0, 1, 2)
PAIR = (Node(0, 2, 1), Node(1, 2, 1))
BOTH = range(2)
MODEL = "mp_rank_00_model_states.pt"
PARTITIONED = WORLD.model_copy(update={"zero_stage": 3})


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    store = open_store(StoreConfig(folder=FolderStore(path=str(tmp_path / "store"))))
    return Checkpoints(Artifact(store, "research", "train", "f" * 64, "train"))


def optimizer(rank: int) -> str:
    return f"bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt"


def partition(rank: int) -> str:
    """Under ZeRO-3 a rank's share of the model has a file of its own, too, and no file is all ranks'."""
    return f"zero_pp_rank_{rank}_mp_rank_00_model_states.pt"


def written(folder: Path, text: str = "weights", node: Node = ALONE) -> Path:
    """A checkpoint as DeepSpeed leaves it on a node: rank 0's model states, and the optimizer's share of every rank."""
    folder.mkdir(parents=True)
    for name in [*([MODEL] if node.leads else []), *map(optimizer, node.ranks)]:
        (folder / name).write_text(f"{text} {name}")
    return folder


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_sealed_checkpoint_comes_back_file_by_file(checkpoints: Checkpoints, tmp_path: Path) -> None:
    folder = written(tmp_path / "12")
    checkpoints.save(folder, 12, WORLD, ALONE, "one")
    seal = checkpoints.latest()
    assert seal is not None
    fetched = checkpoints.fetch(seal, WORLD, BOTH, tmp_path / "into")
    assert fetched == tmp_path / "into" / "12"
    assert {path.name: path.read_text() for path in fetched.iterdir()} == {path.name: path.read_text() for path in folder.iterdir()}


def test_the_checkpoint_of_most_steps_is_the_latest(checkpoints: Checkpoints, tmp_path: Path) -> None:
    for step in (9, 100, 20):
        checkpoints.save(written(tmp_path / str(step)), step, WORLD, ALONE, "one")
    latest = checkpoints.latest()
    assert latest is not None
    assert latest.step == 100


@pytest.mark.fault(57)
def test_files_without_a_seal_are_no_checkpoint(checkpoints: Checkpoints, tmp_path: Path) -> None:
    assert checkpoints.latest() is None
    prefix = f"{checkpoints.artifact.layout.prefix}/checkpoints"
    checkpoints.artifact.objects.put(f"{prefix}/50/files/{'0' * 64}/{MODEL}", b"half")
    assert checkpoints.latest() is None


def test_a_seal_that_stands_is_not_replaced(checkpoints: Checkpoints, tmp_path: Path) -> None:
    first = checkpoints.save(written(tmp_path / "a"), 5, WORLD, ALONE, "one")
    again = checkpoints.save(written(tmp_path / "b", "other"), 5, WORLD, ALONE, "two")
    assert again == first
    fetched = checkpoints.fetch(first, WORLD, BOTH, tmp_path / "into") if first else None
    assert fetched is not None
    assert (fetched / MODEL).read_text() == f"weights {MODEL}"


def test_the_node_that_stores_its_part_last_seals_those_of_all(checkpoints: Checkpoints, tmp_path: Path) -> None:
    first, second = PAIR
    assert checkpoints.save(written(tmp_path / "b", node=second), 5, WORLD, second, "one") is None
    assert checkpoints.latest() is None
    seal = checkpoints.save(written(tmp_path / "a", node=first), 5, WORLD, first, "one")
    assert seal == checkpoints.latest()
    assert seal is not None
    assert seal.files.keys() == {MODEL, optimizer(0), optimizer(1)}


@pytest.mark.fault(57)
def test_parts_of_two_attempts_are_never_one_checkpoint(checkpoints: Checkpoints, tmp_path: Path) -> None:
    first, second = PAIR
    checkpoints.save(written(tmp_path / "a", "killed", first), 5, WORLD, first, "one")
    assert checkpoints.save(written(tmp_path / "b", "alive", second), 5, WORLD, second, "two") is None
    assert checkpoints.latest() is None
    seal = checkpoints.save(written(tmp_path / "c", "alive", first), 5, WORLD, first, "two")
    assert seal is not None
    fetched = checkpoints.fetch(seal, WORLD, BOTH, tmp_path / "into")
    assert {path.read_text().split()[0] for path in fetched.iterdir()} == {"alive"}


@pytest.mark.parametrize(("node", "needed"), [(0, {MODEL, optimizer(0)}), (1, {MODEL, optimizer(1)})])
def test_a_node_fetches_the_optimizers_share_of_its_own_ranks_alone(
    checkpoints: Checkpoints, tmp_path: Path, node: int, needed: set[str]
) -> None:
    seal = checkpoints.save(written(tmp_path / "5"), 5, WORLD, ALONE, "one")
    assert seal is not None
    assert names(checkpoints.fetch(seal, WORLD, PAIR[node].ranks, tmp_path / "into")) == needed


def test_under_zero_3_nodes_store_and_fetch_the_files_of_their_own_ranks_and_no_other(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    seal = None
    for node in PAIR:
        folder = tmp_path / str(node.index)
        folder.mkdir()
        for name in (partition(node.index), optimizer(node.index)):
            (folder / name).write_text(f"of node {node.index}")
        seal = checkpoints.save(folder, 5, PARTITIONED, node, "one")
    assert seal is not None
    assert seal.files.keys() == {partition(0), optimizer(0), partition(1), optimizer(1)}
    for node in PAIR:
        fetched = checkpoints.fetch(seal, PARTITIONED, node.ranks, tmp_path / f"into-{node.index}")
        assert {path.name: path.read_text() for path in fetched.iterdir()} == dict.fromkeys(
            (partition(node.index), optimizer(node.index)), f"of node {node.index}"
        )


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
    seal = checkpoints.save(written(tmp_path / "5"), 5, WORLD, ALONE, "one")
    assert seal is not None
    with pytest.raises(Refused, match=words) as error:
        checkpoints.fetch(seal, WORLD.model_copy(update=other), BOTH, tmp_path / "into")
    assert error.value.reason == "CheckpointMismatch"
    assert not (tmp_path / "into").exists()


def test_a_file_that_changed_after_the_seal_is_never_given_to_deepspeed(checkpoints: Checkpoints, tmp_path: Path) -> None:
    seal = checkpoints.save(written(tmp_path / "5"), 5, WORLD, ALONE, "one")
    assert seal is not None
    key = f"{checkpoints.artifact.layout.prefix}/checkpoints/5/files/{seal.files[MODEL]}/{MODEL}"
    checkpoints.artifact.objects.put(key, b"a pickle of someone else's")
    with pytest.raises(CorruptInput, match="is not what was sealed"):
        checkpoints.fetch(seal, WORLD, BOTH, tmp_path / "into")


def test_a_seal_cannot_name_a_file_outside_its_folder(checkpoints: Checkpoints, tmp_path: Path) -> None:
    sealed = checkpoints.save(written(tmp_path / "5"), 5, WORLD, ALONE, "one")
    assert sealed is not None
    seal = sealed.model_copy(update={"files": {"../../etc/passwd": "0" * 64}})
    with pytest.raises(CorruptInput, match="outside"):
        checkpoints.fetch(seal, WORLD, BOTH, tmp_path / "into")
