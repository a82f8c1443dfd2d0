"""The train program with real torchrun and DeepSpeed: two gloo ranks and a model of 100,000 parameters."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer

from rehearsal.api.messages import ExitCode
from rehearsal.api.platform import Limits, Resources
from rehearsal.worker.checkpoints import Checkpoints, World
from rehearsal.worker.node import Node
from tests.stages.conftest import EXACT, ROWS
from tests.stages.tiny import LONGEST, TrainRun, make_model, train_run, wait_for

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1800)]

ROUNDING = 0.02
"""Two bf16 runs that sum in another order: relative difference of a step's loss."""


@pytest.fixture(scope="module")
def exported(undisturbed: TrainRun) -> Path:
    into = undisturbed.folder / "fetched"
    undisturbed.output.fetch_files(into)
    return into


def test_the_loss_falls_and_the_seal_says_what_was_done(undisturbed: TrainRun, losses: dict[int, float]) -> None:
    assert list(losses) == list(range(1, 31))
    assert losses[30] < 0.2 * losses[1]
    facts = undisturbed.output.sealed().facts
    assert facts["steps"] == 30
    assert facts["samples"] == 240
    assert facts["finalLoss"] == pytest.approx(losses[30], abs=1e-5)
    assert undisturbed.termination.facts == facts


def test_what_is_exported_is_the_base_models_folder_with_other_weights(exported: Path, model: Path) -> None:
    assert {path.name for path in exported.iterdir()} == {path.name for path in model.iterdir()}
    for name in {path.name for path in model.iterdir()} - {"model.safetensors"}:
        assert (exported / name).read_bytes() == (model / name).read_bytes()
    before, after = load_file(model / "model.safetensors"), load_file(exported / "model.safetensors")
    assert {name: tensor.shape for name, tensor in before.items()} == {name: tensor.shape for name, tensor in after.items()}
    assert not torch.equal(before["model.embed_tokens.weight"], after["model.embed_tokens.weight"])


def test_the_export_is_the_trained_model(exported: Path, model: Path, losses: dict[int, float]) -> None:
    assert AutoTokenizer.from_pretrained(exported).chat_template
    assert mean_loss(model, ROWS) == pytest.approx(losses[1], rel=0.05)
    assert mean_loss(exported, ROWS) < max(losses[k] for k in range(26, 31))


@pytest.mark.usefixtures("losses")
def test_a_sealed_stage_is_not_trained_again(undisturbed: TrainRun) -> None:
    assert undisturbed.run() == (ExitCode.DONE, [])
    assert not (undisturbed.folder / "scratch/training/events.jsonl").exists(), "a rank was started"


def test_unpacked_rows_under_zero_3_give_the_losses_of_packed_ones_under_zero_2(
    tmp_path: Path, model: Path, losses: dict[int, float], exported: Path
) -> None:
    # What packing and partitioning must not change: the samples of a step and the weight of each token in its loss.
    unpacked = train_run(tmp_path, model, ROWS, packing=False, zeroStage=3, gradientCheckpointing=True)
    assert unpacked.run()[0] == ExitCode.DONE, (tmp_path / "log").read_text()[-3000:]
    unpacked.output.fetch_files(tmp_path / "fetched")
    assert mean_loss(tmp_path / "fetched", ROWS) == pytest.approx(mean_loss(exported, ROWS), rel=0.2)
    first = range(1, 21)
    assert [unpacked.steps[k] for k in first] == pytest.approx([losses[k] for k in first], rel=ROUNDING)


@pytest.mark.fault(57)
@pytest.mark.fault(58)
@pytest.mark.fault(61)
def test_a_run_killed_twice_goes_on_from_its_last_sealed_checkpoint_exactly(
    tmp_path: Path, model: Path, losses: dict[int, float]
) -> None:
    killed = train_run(tmp_path, model, ROWS, checkpointMinutes=0.01)
    checkpoints = Checkpoints(killed.output)
    killed.kill_when(lambda _: checkpoints.latest() is not None)
    assert no_rank_lives(tmp_path)
    first = checkpoints.latest()
    assert first is not None
    unsealed = f"{killed.output.layout.prefix}/checkpoints/9999/files/{'0' * 64}/mp_rank_00_model_states.pt"
    killed.output.objects.put(unsealed, b"half of a checkpoint")

    process = killed.start()
    wait_for(lambda: len(killed.steps) > 2)
    os.kill(ranks_of(tmp_path)[0], 9)
    process.communicate(timeout=LONGEST)
    assert process.returncode == ExitCode.DEVICE
    assert killed.termination.reason in {"RankKilled", "RankLost"}  # the other rank says so, unless torchrun ends it before
    assert min(killed.steps) == first.step + 1

    assert killed.run()[0] == ExitCode.DONE, (tmp_path / "log").read_text()[-3000:]
    assert min(killed.steps) > 1
    expected = {step: loss for step, loss in losses.items() if step in killed.steps}
    assert killed.steps == pytest.approx(expected, rel=EXACT)


@pytest.mark.fault(60)
def test_a_run_killed_between_its_export_and_its_seal_exports_again_and_seals_the_same(tmp_path: Path, model: Path) -> None:
    """Killed there it leaves what a whole run leaves, less the seal."""
    killed = train_run(tmp_path, model, ROWS[:16], checkpointMinutes=0.0001)
    assert killed.run()[0] == ExitCode.DONE, (tmp_path / "log").read_text()[-3000:]
    sealed = killed.output.sealed()
    (made,) = tmp_path.rglob("train/*/manifest.json")
    made.unlink()
    assert killed.output.manifest() is None

    assert killed.run()[0] == ExitCode.DONE, (tmp_path / "log").read_text()[-3000:]
    assert killed.output.sealed() == sealed
    assert len(killed.steps) < sealed.facts["steps"]


@pytest.mark.fault(56)
def test_a_loss_that_is_not_finite_stops_the_run_and_nothing_is_exported(tmp_path: Path) -> None:
    broken = train_run(tmp_path, make_model(tmp_path / "model", poison=True), ROWS[:16], packing=False)
    assert broken.run()[0] == ExitCode.TOO_MANY_REFUSED
    assert broken.termination.reason == "LossNotFinite"
    assert "step 1 of 2" in str(broken.termination.message)
    assert broken.output.manifest() is None
    assert not (tmp_path / "scratch" / "training" / "export").exists()


@pytest.mark.fault(59)
def test_a_checkpoint_of_another_world_size_is_refused_before_any_rank_starts(tmp_path: Path, model: Path) -> None:
    made = train_run(tmp_path, model, ROWS[:16])
    (tmp_path / "4").mkdir()
    (tmp_path / "4" / "states.pt").write_bytes(b"of four ranks")
    world = World(plan_digest="0" * 64, ranks=4, zero_stage=2, offload=False)
    Checkpoints(made.output).save(tmp_path / "4", 4, world, Node(0, 1, 4), "one")
    assert made.run() == (ExitCode.REFUSED, [])
    assert made.termination.reason == "CheckpointMismatch"
    assert "ranks 4 then and 2 now" in str(made.termination.message)
    assert made.steps == {}


@pytest.mark.fault(76)
def test_a_pod_without_the_gpus_that_its_platform_has_ends_as_75_and_nothing_is_sealed(tmp_path: Path, model: Path) -> None:
    made = train_run(tmp_path, model, ROWS[:16])
    lost = TrainRun(made.folder, made.model, made.task.model_copy(update={"limits": Limits(use_cpu=False)}))
    assert lost.run() == (ExitCode.DEVICE, [])
    assert lost.termination.reason == "DeviceUnusable"
    assert "2 ranks of this pod need a GPU each, and CUDA finds 0" in str(lost.termination.message)
    assert lost.output.manifest() is None


def test_a_run_that_cannot_fit_is_refused_with_the_arithmetic(tmp_path: Path, model: Path) -> None:
    made = train_run(tmp_path, model, ROWS[:16])
    small = TrainRun(made.folder, made.model, made.task.model_copy(update={"train_pod": Resources(memory="100Ki")}))
    assert small.run()[0] == ExitCode.REFUSED
    assert small.termination.reason == "DoesNotFit"
    assert "ZeRO-2 over 2 ranks" in str(small.termination.message)


def mean_loss(folder: Path, rows: list[dict[str, list[int]]]) -> float:
    tuned = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    losses = []
    with torch.no_grad():
        for row in rows[:64]:
            ids = torch.tensor([row["ids"]])
            logits = tuned(input_ids=ids, use_cache=False).logits[0, :-1].float()
            losses.append(cross_entropy(logits, ids[0, 1:], reduction="none")[1:])
    return float(torch.cat(losses).mean())


def ranks_of(folder: Path) -> list[int]:
    """The processes that were started with a settings file of this folder, torchrun aside."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
        except OSError:
            continue
        if str(folder / "scratch/training/settings.json").encode() in words and b"torch.distributed.run" not in words:
            found.append(int(entry.parent.name))
    return found


def no_rank_lives(folder: Path) -> bool:
    wait_for(lambda: not ranks_of(folder))
    return True
