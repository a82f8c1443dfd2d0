"""Whether what a fine-tune writes to scratch fits, by arithmetic, before anything takes a GPU. Pure; preflight asks.

A checkpoint of DeepSpeed is the fp32 master weights and Adam's two moments, each rank's own part on its node, and below ZeRO-3 the
bf16 weights on the first node. One lies there at a time: the next waits until it is in the store (`Trainer._agree`), and one that
is resumed from goes before the next. The last may be on its way while the tuned model is written, in bf16, on the first node.
Not covered: the mix's rows, five bytes a token, which are in the margin only.
"""

from rehearsal.api.messages import Refused
from rehearsal.api.quantity import quantity
from rehearsal.api.run import Training
from rehearsal.worker.training.memory import GB, MARGIN
from rehearsal.worker.training.moments import ADAM, MASTER, WEIGHT
from rehearsal.worker.training.shape import ModelShape


def check_scratch(model: ModelShape, training: Training, volume: str) -> None:
    """Refuse, with the arithmetic, a fine-tune whose files do not fit a pod's volume of this size, a Kubernetes quantity."""
    checkpoint, tuned = checkpoint_bytes(model, training), float(WEIGHT * model.parameters)
    if (checkpoint + tuned) * MARGIN <= quantity(volume):
        return
    raise Refused(
        f"spec.training does not fit a pod's scratch. {model.parameters / GB:.2f} B parameters, ZeRO-{training.zero_stage} over "
        f"{training.nodes} {'node' if training.nodes == 1 else 'nodes'}: {checkpoint / GB:,.1f} GB of a checkpoint and "
        f"{tuned / GB:,.1f} GB of the tuned model on the first one. The platform's trainScratch is {volume} (a margin of "
        f"{MARGIN - 1:.0%} is kept). Use more nodes, or have the platform give more",
        "DoesNotFit",
    )


def checkpoint_bytes(model: ModelShape, training: Training) -> float:
    """Return the bytes of a checkpoint that lie on the first node: none where no checkpoint is made."""
    if not training.checkpoint_minutes:
        return 0.0
    whole = WEIGHT if training.zero_stage < 3 else 0
    return model.parameters * ((MASTER + ADAM) / training.nodes + whole)
