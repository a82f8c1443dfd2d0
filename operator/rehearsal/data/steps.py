"""The plan of training steps: which rows each rank computes in which forward pass. Pure, so that resume is exact.

A step is `globalBatch` samples, however they are packed and dealt. The plan says nothing of the loss: ranks hold
different numbers of tokens, so a step's loss must be normalised over all of them.
"""

import hashlib
import heapq
import json
from collections.abc import Sequence
from dataclasses import dataclass

from rehearsal.data.draw import shuffled

Pack = tuple[int, ...]
"""Rows of one forward pass, by index; empty where a rank has none left in this step."""


@dataclass(frozen=True)
class Step:
    """One optimizer step. `ranks[r][k]` is what rank r computes in micro-step k; all ranks have equally many."""

    ranks: tuple[tuple[Pack, ...], ...]

    @property
    def micro_steps(self) -> int:
        """Forward passes of every rank in this step."""
        return len(self.ranks[0])


@dataclass(frozen=True)
class StepPlan:
    """All steps of a run, in order."""

    steps: tuple[Step, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of the plan, in hex: a checkpoint of another plan is never resumed."""
        content = json.dumps([step.ranks for step in self.steps], separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()


def plan_steps(
    lengths: Sequence[int], *, global_batch: int, ranks: int, sequence_length: int, epochs: int, packing: bool, seed: str
) -> StepPlan:
    """Return the steps of `epochs` passes over rows of those lengths, in tokens; none is over `sequence_length`.

    Every epoch has a seeded order of its own. The epochs follow each other without a gap, so every step holds exactly
    `global_batch` rows but the last of the run: 120,482 rows at 64 are 1,883 steps.
    """
    if max(lengths, default=0) > sequence_length:
        raise ValueError("a row is longer than a pack; such rows are refused when the set is mixed")
    order = [row for epoch in range(epochs) for row in shuffled(len(lengths), seed, "epoch", epoch)]
    batches = (order[start : start + global_batch] for start in range(0, len(order), global_batch))
    capacity = sequence_length if packing else 0
    return StepPlan(tuple(_step(batch, lengths, ranks, capacity) for batch in batches))


def _step(batch: Sequence[int], lengths: Sequence[int], ranks: int, capacity: int) -> Step:
    dealt = [_packs(rows, lengths, capacity) for rows in _deal(batch, lengths, ranks, capacity)]
    micro_steps = max(map(len, dealt))
    return Step(tuple((*packs, *[()] * (micro_steps - len(packs))) for packs in dealt))


def _deal(batch: Sequence[int], lengths: Sequence[int], ranks: int, capacity: int) -> list[list[int]]:
    """Longest first, each to the rank that has least: of tokens when they are packed, of rows when each is a pass."""
    hands: list[list[int]] = [[] for _ in range(ranks)]
    least = [(0, rank) for rank in range(ranks)]
    for row in sorted(batch, key=lambda row: (-lengths[row], row)):
        load, rank = least[0]
        hands[rank].append(row)
        heapq.heapreplace(least, (load + (lengths[row] if capacity else 1), rank))
    return hands


def _packs(rows: Sequence[int], lengths: Sequence[int], capacity: int) -> list[Pack]:
    """First-fit decreasing; `rows` are the longest first. Without capacity every row is a pack."""
    packs: list[list[int]] = []
    room: list[int] = []
    for row in rows:
        fitting = next((i for i, left in enumerate(room) if lengths[row] <= left), None)
        if fitting is None:
            packs.append([row])
            room.append(capacity - lengths[row])
        else:
            packs[fitting].append(row)
            room[fitting] -= lengths[row]
    return [tuple(pack) for pack in packs]
