"""The train program on two nodes: two programs with a folder each, that share a store and meet on this machine."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from rehearsal.api.messages import RANK_LOST, DeviceUnusable, ExitCode
from rehearsal.worker.checkpoints import Checkpoints, Seal
from rehearsal.worker.node import Node
from rehearsal.worker.torchrun import run_ranks
from tests.ports import free_port
from tests.stages.conftest import EXACT, ROWS
from tests.stages.tiny import LONGEST, TrainRun, nodes_of, train_run, wait_for

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1800)]

LOST = 60
"""Seconds within which a node is to have noticed that its peer is gone: far less than the half hour that gloo waits for one that hangs."""
PARTS = {f"zero_pp_rank_{rank}_mp_rank_00_model_states.pt" for rank in (0, 1)}
"""The model states of a checkpoint under ZeRO-3: a file a rank, from its own node."""


def finished(nodes: list[TrainRun]) -> list[int]:
    """Run every node to its end, the last one first; return their exit codes."""
    processes = [node.start() for node in reversed(nodes)]
    for process in processes:
        process.communicate(timeout=LONGEST)
    return [process.returncode for process in reversed(processes)]


def log_of(node: TrainRun) -> str:
    return (node.folder / "log").read_text()[-3000:]


def latest(made: TrainRun) -> Seal | None:
    return Checkpoints(made.output).latest()


def pair_over(store: Path, folder: Path, model: Path) -> TrainRun:
    """A two-node run under ZeRO-3 over a copy of a store."""
    shutil.copytree(store, folder / "store")
    return train_run(folder, model, ROWS, nodes=2, processesPerNode=1, zeroStage=3, checkpointMinutes=0.01)


@pytest.fixture(scope="module")
def partitioned(tmp_path_factory: pytest.TempPathFactory, model: Path) -> TrainRun:
    """An undisturbed run under ZeRO-3, of one node with two ranks: no rank ever holds the whole model."""
    alone = train_run(tmp_path_factory.mktemp("partitioned"), model, ROWS, zeroStage=3)
    assert alone.run()[0] == ExitCode.DONE, log_of(alone)
    return alone


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """The store of a run like that which was killed once a checkpoint was sealed."""
    alone = train_run(tmp_path_factory.mktemp("interrupted"), model, ROWS, zeroStage=3, checkpointMinutes=0.01)
    alone.kill_when(lambda run: latest(run) is not None)
    return alone.folder / "store"


def test_two_nodes_train_the_model_that_two_ranks_of_one_node_train(
    tmp_path: Path, model: Path, undisturbed: TrainRun, losses: dict[int, float]
) -> None:
    pair = train_run(tmp_path, model, ROWS, nodes=2, processesPerNode=1)
    assert pair.task.fingerprint == undisturbed.task.fingerprint
    first, second = nodes_of(pair)
    assert finished([first, second]) == [ExitCode.DONE] * 2, log_of(first) + log_of(second)
    assert first.steps == second.steps == pytest.approx(losses, rel=EXACT)
    assert pair.output.sealed() == undisturbed.output.sealed()
    assert first.termination.manifest_digest == pair.output.sealed().digest
    assert not (second.folder / "termination").exists()


@pytest.mark.fault(58)
@pytest.mark.fault(61)
def test_a_lost_node_ends_its_peer_and_the_next_attempt_goes_on_exactly_under_zero_3(
    tmp_path: Path, model: Path, partitioned: TrainRun, interrupted: Path
) -> None:
    pair = pair_over(interrupted, tmp_path, model)
    before = latest(pair)
    assert before is not None
    first, second = nodes_of(pair)
    processes = [first.start(), second.start()]
    wait_for(lambda: (seal := latest(pair)) is not None and seal.step > before.step)
    shared = latest(pair)
    processes[1].kill()
    processes[0].communicate(timeout=LOST)
    assert processes[0].returncode == ExitCode.DEVICE, log_of(first)
    assert first.termination.reason == RANK_LOST
    assert "Connection" in str(first.termination.message)
    assert min(first.steps) == before.step + 1

    assert finished([first, second]) == [ExitCode.DONE] * 2, log_of(first) + log_of(second)
    assert min(second.steps) > before.step + 1
    assert first.steps == second.steps == pytest.approx({step: partitioned.steps[step] for step in first.steps}, rel=EXACT)
    assert pair.output.sealed() == partitioned.output.sealed()
    assert shared is not None
    assert {name for name in shared.files if "model_states" in name} == PARTS


def test_nodes_that_found_different_checkpoints_do_not_train(tmp_path: Path, model: Path, interrupted: Path) -> None:
    first, second = nodes_of(pair_over(interrupted, tmp_path / "ahead", model))
    behind = train_run(tmp_path / "behind", model, ROWS).task.store
    second = replace(second, task=second.task.model_copy(update={"store": behind}))
    assert finished([first, second]) == [ExitCode.DEVICE] * 2, log_of(first)
    assert first.termination.reason == second.termination.reason == "CheckpointsDiffer"
    assert first.steps == second.steps == {}


@pytest.mark.parametrize(("index", "master"), [(0, "127.0.0.1"), (1, "nobody.invalid")])
def test_a_node_whose_peer_never_comes_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: int, master: str) -> None:
    monkeypatch.setenv("MASTER_ADDR", master)
    monkeypatch.setenv("MASTER_PORT", str(free_port()))
    with pytest.raises(DeviceUnusable, match="did not find each other") as error:
        run_ranks(tmp_path / "settings.json", tmp_path / "events", Node(index, 2, 1), print, "", patience=5)
    assert error.value.reason == "NodesMissing"
