"""Packed samples must not see each other, and every start proves that they do not.

The model builds a block-diagonal mask from restarted positions by itself, but only without an attention mask and without
a cache; otherwise samples leak into each other silently.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from rehearsal.api.messages import Refused
from rehearsal.data.steps import Pack
from rehearsal.worker.training.batches import Batch, pack
from rehearsal.worker.training.rows import Rows

TOLERANCE = 0.05
"""Mean absolute difference of a trained token's loss, packed against alone: bf16 rounding gives some 0.01, a leak 0.3 and more."""

PROOF_ROWS = 8
"""Each takes a forward pass of its own."""


def token_losses(model: nn.Module, batch: Batch) -> Tensor:
    """Return the cross-entropy of every token to be predicted (N), in fp32. Only their positions pass through the head."""
    logits = model(input_ids=batch.ids, position_ids=batch.positions, use_cache=False, logits_to_keep=batch.kept).logits
    return cross_entropy(logits[0].float(), batch.targets, reduction="none")


def proof_of(packs: Iterable[Pack], lengths: Sequence[int]) -> Pack:
    """Return the rows to prove it on, the longest first: of a pack with many rows of mixed lengths, at most `PROOF_ROWS`.

    Empty where no pack holds two rows, so that nothing can be seen.
    """
    shared = (pack for pack in packs if len(pack) > 1)
    pack = max(shared, key=lambda pack: (min(len(pack), PROOF_ROWS), lengths[pack[0]] - lengths[pack[-1]]), default=())
    if len(pack) <= PROOF_ROWS:
        return pack
    return tuple(pack[index * (len(pack) - 1) // (PROOF_ROWS - 1)] for index in range(PROOF_ROWS))


def prove_separation(model: nn.Module, rows: Rows, chosen: Sequence[int], device: torch.device) -> None:
    """Refuse a model whose token losses differ by more than rounding between the rows packed and each alone."""
    difference = separation(model, rows, chosen, device)
    if not difference <= TOLERANCE:
        raise Refused(
            f"packed samples see each other in this model: token losses differ by {difference:.3f} "
            f"(rounding is at most {TOLERANCE}). Set spec.training.packing to false",
            "PackingLeaks",
        )


def separation(model: nn.Module, rows: Rows, chosen: Sequence[int], device: torch.device) -> float:
    """Return the mean difference of token losses between the rows packed and each alone.

    The first row is not compared: it sees no other, however they are packed. Dropout, which draws anew each time, is off meanwhile.
    """
    model.eval()
    with torch.no_grad():
        packed = token_losses(model, pack(rows, chosen, device))[rows.trained_tokens(chosen[0]) :]
        alone = torch.cat([token_losses(model, pack(rows, [row], device)) for row in chosen[1:]])
    model.train()
    return float((packed - alone).abs().sum()) / max(len(alone), 1)
