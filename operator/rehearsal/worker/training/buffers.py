"""A model's buffers after it was loaded under ZeRO-3, made those of a plain load.

DeepSpeed's `zero.Init` casts whatever a constructor computes to the model's dtype, and rotary frequencies with it: in bf16 they are
off by up to half a percent, which at a distance of a thousand tokens is a phase of a radian (transformers#28685, DeepSpeed#4932).
"""

import torch
from torch import nn

from rehearsal.api.messages import Refused


def restore(model: nn.Module, plain: nn.Module, device: torch.device) -> None:
    """Give the model every buffer of a plain build of it, in that one's dtype.

    Refused where the two have other buffers: then what the plain one has cannot stand for the model's.
    """
    theirs = dict(plain.named_buffers(remove_duplicate=False))
    ours = dict(model.named_buffers(remove_duplicate=False))
    if odd := sorted(name for name in theirs.keys() | ours.keys() if _shape(theirs.get(name)) != _shape(ours.get(name))):
        raise Refused(
            f"spec.baseModel cannot be trained under ZeRO-3: its buffer {odd[0]} is another one when it is loaded in parts. "
            "Set spec.training.zeroStage to 2",
            "ArchitectureUnsupported",
        )
    for name, buffer in theirs.items():
        owner, _, last = name.rpartition(".")
        model.get_submodule(owner)._buffers[last] = buffer.to(device)


def _shape(buffer: torch.Tensor | None) -> torch.Size | None:
    return None if buffer is None else buffer.shape
