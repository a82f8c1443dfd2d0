"""From rows to tensors: a micro-step's rows laid end to end as one sequence, positions restarted at each."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rehearsal.worker.training.rows import Rows


@dataclass(frozen=True)
class Batch:
    """One pack of T tokens, N of them to be predicted.

    `ids` and `positions` are (1, T); `kept` (N) is the position before each token to be predicted, `targets` (N) that token.
    """

    ids: Tensor
    positions: Tensor
    kept: Tensor
    targets: Tensor


def pack(rows: Rows, chosen: Sequence[int], device: torch.device) -> Batch:
    """Return the rows as one pack. No target reaches over a row's border: a row's first token is never predicted.

    No rows at all give a pack of one token with nothing to predict: this rank has none left, and the others wait for it.
    """
    ids: list[int] = [] if chosen else rows.ids(0)[:1]
    positions: list[int] = [] if chosen else [0]
    predicted: list[int] = []
    for row in chosen:
        start = len(ids)
        ids += rows.ids(row)
        positions += range(len(ids) - start)
        predicted += [start + i for i, trained in enumerate(rows.trained(row)) if trained]
    ids_t = torch.tensor(ids, dtype=torch.long)
    at = torch.tensor(predicted, dtype=torch.long)
    return Batch(
        ids_t.unsqueeze(0).to(device),
        torch.tensor(positions, dtype=torch.long).unsqueeze(0).to(device),
        (at - 1).to(device),
        ids_t[at].to(device),
    )
