"""What a fine-tune writes to scratch, to the gigabyte."""

import pytest

from rehearsal.api.messages import Refused
from rehearsal.api.platform import TRAIN_SCRATCH
from rehearsal.api.run import Training
from rehearsal.worker.training.disk import check_scratch, checkpoint_bytes
from rehearsal.worker.training.shape import ModelShape

GB = 1e9
LLAMA_70B = ModelShape(parameters=70_553_706_496, hidden=8192, layers=80, vocabulary=128_256)
QWEN_72B = ModelShape(parameters=72_706_203_648, hidden=8192, layers=80, vocabulary=152_064)


@pytest.mark.parametrize(
    ("training", "expected"),
    [(Training(), 846.6), (Training(nodes=2), 423.3), (Training(zero_stage=2), 987.8), (Training(checkpoint_minutes=0), 0)],
)
def test_a_checkpoint_is_shared_by_the_nodes_and_holds_the_weights_too_below_zero_3(training: Training, expected: float) -> None:
    assert checkpoint_bytes(LLAMA_70B, training) / GB == pytest.approx(expected, abs=0.05)


def test_a_checkpoint_of_70b_on_one_node_and_the_model_beside_it_are_refused_by_50_gib_with_the_arithmetic() -> None:
    with pytest.raises(Refused, match=r"846\.6 GB of a checkpoint and 141\.1 GB of the tuned.*trainScratch is 50Gi") as refused:
        check_scratch(LLAMA_70B, Training(), "50Gi")
    assert refused.value.reason == "DoesNotFit"


@pytest.mark.parametrize(
    ("training", "too_little", "enough"),
    [(Training(), "993Gi", "994Gi"), (Training(nodes=2), "567Gi", "568Gi"), (Training(checkpoint_minutes=0), "141Gi", "142Gi")],
)
def test_more_nodes_or_no_checkpoints_want_less(training: Training, too_little: str, enough: str) -> None:
    check_scratch(LLAMA_70B, training, enough)
    with pytest.raises(Refused):
        check_scratch(LLAMA_70B, training, too_little)


@pytest.mark.parametrize("model", [LLAMA_70B, QWEN_72B])
def test_what_a_platform_gives_unasked_holds_the_papers_models_on_one_node(model: ModelShape) -> None:
    check_scratch(model, Training(), TRAIN_SCRATCH)
