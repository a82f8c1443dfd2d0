"""What the ranks are told, as one JSON file: the parent resolves everything, the ranks decide nothing. No torch."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from rehearsal.data.steps import StepPlan, plan_steps
from rehearsal.outside.json_text import read_own_json


@dataclass(frozen=True)
class Settings:
    """`device` is the kind that every rank must find: `cuda`, or `cpu`. Paths are absolute.

    The checkpoint at `resume` holds `resume_step` steps; `origin` names it, and is empty where there is none.
    """

    device: str
    model: str
    rows: str
    export: str
    checkpoints: str
    events: str
    resume: str | None
    resume_step: int
    origin: str
    global_batch: int
    sequence_length: int
    epochs: int
    packing: bool
    seed: str
    learning_rate: float
    warmup_fraction: float
    zero_stage: int
    offload: bool
    gradient_checkpointing: bool
    checkpoint_minutes: float

    def plan(self, lengths: Sequence[int], ranks: int) -> StepPlan:
        """Return the step plan of rows of these lengths: the same here and there."""
        return plan_steps(
            lengths,
            global_batch=self.global_batch,
            ranks=ranks,
            sequence_length=self.sequence_length,
            epochs=self.epochs,
            packing=self.packing,
            seed=self.seed,
        )

    def save(self, path: Path) -> None:
        """Write the settings as JSON."""
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        return cls(**read_own_json(path.read_text()))
