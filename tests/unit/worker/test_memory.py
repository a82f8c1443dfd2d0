"""The arithmetic of method.md, to the gigabyte."""

import pytest

from rehearsal.api.messages import Refused
from rehearsal.api.platform import TRAIN_POD
from rehearsal.api.quantity import quantity
from rehearsal.api.run import Offload, Training
from rehearsal.worker.training.memory import Machine, decide, need
from rehearsal.worker.training.moments import Moment, host_state, moments, state_bytes
from rehearsal.worker.training.shape import ModelShape

GB, GIB = 1e9, 2**30
LLAMA_8B = ModelShape(parameters=8_030_261_248, hidden=4096, layers=32, vocabulary=128_256)
LLAMA_70B = ModelShape(parameters=70_553_706_496, hidden=8192, layers=80, vocabulary=128_256)
TINY = ModelShape(parameters=1_600_000, hidden=192, layers=3, vocabulary=600)
PAPER = Training()


def test_70b_parameters_of_16_bytes_are_1129_gb() -> None:
    assert state_bytes(LLAMA_70B.parameters, 3, 1, offload=False) / GB == pytest.approx(1129, abs=0.5)


def test_offloaded_70b_keeps_17_6_gb_of_weights_a_gpu_and_1431_gb_on_the_host_for_pinned_memory_comes_in_powers_of_two() -> None:
    assert state_bytes(LLAMA_70B.parameters, 3, 8, offload=True) / GB == pytest.approx(17.6, abs=0.05)
    assert 18 * LLAMA_70B.parameters / GB == pytest.approx(1270, abs=0.5)
    assert 8 * host_state(LLAMA_70B.parameters / 8, 3) / GB == pytest.approx(1431, abs=0.5)


def named(found: tuple[Moment, ...], name: str) -> Moment:
    (moment,) = (moment for moment in found if moment.name == name)
    return moment


@pytest.mark.parametrize(
    ("model", "training", "offload", "expected"),
    [(LLAMA_70B, PAPER, True, 1713), (LLAMA_8B, PAPER, False, 96), (LLAMA_70B, Training(nodes=8), False, 106)],
)
def test_a_resume_reads_the_checkpoint_beside_what_is_there(
    model: ModelShape, training: Training, offload: bool, expected: float
) -> None:
    of_ranks = 8 * 2e9
    assert (named(moments(model, training, offload), "as it resumes").host - of_ranks) / GB == pytest.approx(expected, abs=0.6)


def test_below_zero_3_every_rank_loads_the_whole_model() -> None:
    loading = named(moments(LLAMA_8B, Training(zero_stage=2), offload=False), "while it loads")
    assert (loading.host - 8 * 2e9) / GB == pytest.approx(257, abs=0.1)
    assert named(moments(LLAMA_8B, PAPER, offload=False), "while it loads").host == 8 * 2e9


def test_an_optimizer_step_below_zero_3_takes_24_bytes_a_parameter_of_a_rank_and_is_what_is_checked() -> None:
    small = ModelShape(parameters=4_000_000_000, hidden=2560, layers=36, vocabulary=151_936)
    alone = Training(processes_per_node=1, zero_stage=2, offload=Offload.NONE)
    assert named(moments(small, alone, offload=False), "in an optimizer step").device == 24 * small.parameters
    with pytest.raises(Refused, match=r"at most 96\.0 GB a GPU, in an optimizer step"):
        decide(small, alone, Machine(500 * GB, 80 * GIB))


def test_the_loss_takes_12_bytes_a_token_and_vocabulary_entry() -> None:
    longer = (Training(sequence_length=length, packing=False, gradient_checkpointing=True) for length in (1024, 2048))
    first, second = (named(moments(ModelShape(1000, 0, 0, 100_000), each, offload=False), "in a backward pass") for each in longer)
    assert second.device - first.device == 12 * 1024 * 100_000


def test_a_run_without_checkpoints_never_resumes() -> None:
    never = moments(LLAMA_70B, Training(checkpoint_minutes=0), offload=True)
    assert [moment.name for moment in never] == ["while it loads", "in a backward pass", "in an optimizer step"]


def test_a_platform_gives_unasked_what_the_papers_run_takes_on_one_node() -> None:
    assert decide(LLAMA_70B, PAPER, Machine(float(quantity(TRAIN_POD.memory)), 80 * GIB)).offload


def test_70b_over_32_gpus_holds_35_3_gb_of_state_each() -> None:
    assert state_bytes(LLAMA_70B.parameters, 3, 32, offload=False) / GB == pytest.approx(35.3, abs=0.05)


@pytest.mark.parametrize(("stage", "expected"), [(1, 2 + 2 + 12 / 8), (2, 2 + 14 / 8), (3, 16 / 8)])
def test_each_zero_stage_shares_one_thing_more(stage: int, expected: float) -> None:
    assert state_bytes(1000, stage, 8, offload=False) == pytest.approx(1000 * expected)


def test_the_papers_machine_fits_only_with_the_optimizer_on_the_host() -> None:
    wanted = decide(LLAMA_70B, PAPER, Machine(host_bytes=2000 * GB, device_bytes=80 * GIB))
    assert wanted.offload
    assert wanted.device < 80 * GIB


def test_what_fits_without_offload_is_not_offloaded() -> None:
    assert not decide(LLAMA_70B, Training(nodes=4), Machine(1500 * GB, 80 * GIB)).offload


@pytest.mark.parametrize(
    ("training", "host"), [(PAPER, 1200), (PAPER, 1800), (Training(offload=Offload.NONE), 1500), (Training(zero_stage=2), 1500)]
)
def test_what_cannot_fit_is_refused_with_both_sides_of_the_arithmetic(training: Training, host: float) -> None:
    with pytest.raises(
        Refused, match=r"70\.55 B parameters, ZeRO-\d over 8 ranks.*85\.9 GB a GPU and 1,\d00\.0 GB of host"
    ) as error:
        decide(LLAMA_70B, training, Machine(host * GB, 80 * GIB))
    assert error.value.reason == "DoesNotFit"


def test_two_nodes_share_what_one_keeps_on_the_host() -> None:
    alone, pair = (need(LLAMA_70B, Training(nodes=nodes), offload=True) for nodes in (1, 2))
    assert pair.host == pytest.approx(alone.host / 2, rel=0.02)
    tiny = Training(nodes=2, processes_per_node=1, sequence_length=512)
    assert (
        need(TINY, tiny, offload=False).device
        == need(TINY, Training(processes_per_node=2, sequence_length=512), offload=False).device
    )


def test_without_a_gpu_the_ranks_share_the_hosts_memory() -> None:
    tiny = Training(processes_per_node=2, sequence_length=512)
    wanted = decide(TINY, tiny, Machine(host_bytes=4 * GIB, device_bytes=None))
    assert (wanted.offload, wanted.device) == (False, 0)
    assert "GB of a pod's memory" in wanted.words
    with pytest.raises(Refused, match=r"A pod has 0\.5 GB of host memory"):
        decide(TINY, tiny, Machine(host_bytes=0.5 * GB, device_bytes=None))


@pytest.mark.parametrize("wrong", [None, "8", 0, -1, True, 1e999, [8]])
def test_a_models_sizes_are_those_of_its_configuration(wrong: object) -> None:
    config = {"hidden_size": 192, "num_hidden_layers": 3, "vocab_size": 600}
    assert ModelShape.of(config, 1_600_000) == TINY
    with pytest.raises(Refused, match=r"config\.json does not say vocab_size as a number"):
        ModelShape.of(config | {"vocab_size": wrong}, 1)
