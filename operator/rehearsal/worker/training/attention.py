"""Packed samples must not see each other, and every start proves that they do not.

The model builds a block-diagonal mask from restarted positions by itself, but only without an attention mask and without
a cache; otherwise samples leak into each other silently.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from rehearsal.api.messages import Refused
from rehearsal.worker.training.batches import Batch, pack
from rehearsal.worker.training.rows import Rows

TOLERANCE = 0.05
"""Mean absolute difference of a trained token's loss, packed against alone: bf16 rounding gives some 0.01, a leak 0.3 and more."""


def token_losses(model: nn.Module, batch: Batch) -> Tensor:
    """Return the cross-entropy of every token to be predicted (N), in fp32. Only their positions pass through the head."""
    logits = model(input_ids=batch.ids, position_ids=batch.positions, use_cache=False, logits_to_keep=batch.kept).logits
    return cross_entropy(logits[0].float(), batch.targets, reduction="none")


def prove_separation(model: nn.Module, rows: Rows, chosen: Sequence[int], device: torch.device) -> float:
    """Return the mean difference of token losses between the rows packed and each alone; Refused when it is more than rounding."""
    with torch.no_grad():
        packed = token_losses(model, pack(rows, chosen, device))
        alone = torch.cat([token_losses(model, pack(rows, [row], device)) for row in chosen])
    difference = float((packed - alone).abs().mean())
    if not difference <= TOLERANCE:
        raise Refused(
            f"packed samples see each other in this model: token losses differ by {difference:.3f} "
            f"(rounding is at most {TOLERANCE}). Set spec.training.packing to false",
            "PackingLeaks",
        )
    return difference
