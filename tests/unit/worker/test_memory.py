"""The arithmetic of method.md, to the gigabyte."""

import pytest

from rehearsal.api.messages import Refused
from rehearsal.api.platform import Limits
from rehearsal.api.run import Offload, Training
from rehearsal.worker.training.memory import Machine, ModelShape, decide, need, state_bytes

GB, GIB = 1e9, 2**30
LLAMA_70B = ModelShape(parameters=70_553_706_496, hidden=8192, layers=80, vocabulary=128_256)
TINY = ModelShape(parameters=1_600_000, hidden=192, layers=3, vocabulary=600)
PAPER = Training()


def test_70b_parameters_of_16_bytes_are_1129_gb() -> None:
    assert state_bytes(LLAMA_70B.parameters, 3, 1, offload=False) / GB == pytest.approx(1129, abs=0.5)


def test_offloaded_70b_keeps_1270_gb_on_the_host_and_17_6_gb_of_weights_a_gpu() -> None:
    assert state_bytes(LLAMA_70B.parameters, 3, 8, offload=True) / GB == pytest.approx(17.6, abs=0.05)
    assert "1,270 GB of host memory" in need(LLAMA_70B, PAPER, offload=True).words


def test_70b_over_32_gpus_holds_35_3_gb_of_state_each() -> None:
    assert state_bytes(LLAMA_70B.parameters, 3, 32, offload=False) / GB == pytest.approx(35.3, abs=0.05)


@pytest.mark.parametrize(("stage", "expected"), [(1, 2 + 2 + 12 / 8), (2, 2 + 14 / 8), (3, 16 / 8)])
def test_each_zero_stage_shares_one_thing_more(stage: int, expected: float) -> None:
    assert state_bytes(1000, stage, 8, offload=False) == pytest.approx(1000 * expected)


def test_the_papers_machine_fits_only_with_the_optimizer_on_the_host() -> None:
    wanted = decide(LLAMA_70B, PAPER, Machine(host_bytes=1500 * GB, device_bytes=80 * GIB))
    assert wanted.offload
    assert wanted.device < 80 * GIB


def test_what_fits_without_offload_is_not_offloaded() -> None:
    assert not decide(LLAMA_70B, Training(nodes=4), Machine(1500 * GB, 80 * GIB)).offload


@pytest.mark.parametrize(
    ("training", "host"), [(PAPER, 1200), (Training(offload=Offload.NONE), 1500), (Training(zero_stage=2), 1500)]
)
def test_what_cannot_fit_is_refused_with_both_sides_of_the_arithmetic(training: Training, host: float) -> None:
    with pytest.raises(
        Refused, match=r"70\.55 B parameters, ZeRO-\d over 8 ranks.*85\.9 GB a GPU and 1,\d00\.0 GB of host"
    ) as error:
        decide(LLAMA_70B, training, Machine(host * GB, 80 * GIB))
    assert error.value.reason == "DoesNotFit"


def test_two_nodes_share_what_one_keeps_on_the_host() -> None:
    alone, pair = (need(LLAMA_70B, Training(nodes=nodes), offload=True) for nodes in (1, 2))
    assert pair.host == alone.host / 2
    tiny = Training(nodes=2, processes_per_node=1, sequence_length=512)
    assert (
        need(TINY, tiny, offload=False).device
        == need(TINY, Training(processes_per_node=2, sequence_length=512), offload=False).device
    )


def test_without_a_gpu_the_ranks_share_the_hosts_memory() -> None:
    tiny = Training(processes_per_node=2, sequence_length=512)
    machine = Machine.of(Limits(host_memory_gib=4), on_cpu=True)
    assert not decide(TINY, tiny, machine).offload
    with pytest.raises(Refused, match=r"A pod has 0\.0 GB of host memory"):
        decide(TINY, tiny, Machine(host_bytes=0.03 * GB, device_bytes=None))


def test_a_models_size_follows_from_its_files_and_its_configuration() -> None:
    config = {"hidden_size": 192, "num_hidden_layers": 3, "vocab_size": 600, "dtype": "bfloat16"}
    assert ModelShape.of(config, 3_200_000) == TINY
    assert ModelShape.of(config | {"dtype": "float32"}, 6_400_000) == TINY
    with pytest.raises(Refused, match="vocab_size"):
        ModelShape.of({"hidden_size": 192, "num_hidden_layers": 3}, 1)
