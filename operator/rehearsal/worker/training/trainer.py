"""The training loop: exactly the step plan's packs, a loss per trained token over all ranks and micro-steps, a step at a time.

Why not transformers' Trainer: docs/adr/0003-own-training-loop.md.
"""

import hashlib
import math
import shutil
import time
from pathlib import Path

import deepspeed
import torch
from torch import distributed

from rehearsal.api.messages import CorruptInput, TooManyRefused
from rehearsal.data.steps import StepPlan
from rehearsal.worker.training.attention import token_losses
from rehearsal.worker.training.batches import pack
from rehearsal.worker.training.events import CHECKPOINT, STEP, tell
from rehearsal.worker.training.group import is_first_of_node
from rehearsal.worker.training.rows import Rows
from rehearsal.worker.training.settings import Settings


def learning_rate(step: int, steps: int, settings: Settings) -> float:
    """Return the rate of a step (0-based): linear over the warm-up's share of the steps, then constant."""
    warmup = math.ceil(settings.warmup_fraction * steps)
    return settings.learning_rate * min(1.0, (step + 1) / (warmup + 1))


def _seed(seed: str, step: int) -> int:
    """What is random in a model, such as dropout, depends on the step and not on what came before: resume is exact."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{step}".encode()).digest()[:7])


class Trainer:
    """One rank's side of the run. Every method that talks to the other ranks is called by all of them, in the same order."""

    def __init__(
        self, settings: Settings, engine: deepspeed.DeepSpeedEngine, rows: Rows, plan: StepPlan, device: torch.device
    ) -> None:
        self._settings, self._engine, self._rows, self._plan, self._device = settings, engine, rows, plan, device
        self._rank, self._ranks = distributed.get_rank(), distributed.get_world_size()
        self._speaks = is_first_of_node()
        self._saved_at = time.monotonic()

    def run(self) -> None:
        """Carry out every step that the checkpoint, if any, does not hold."""
        if self._settings.resume:
            self._load(self._settings.resume)
        for step in range(self._settings.resume_step, len(self._plan.steps)):
            torch.manual_seed(_seed(self._settings.seed, step))
            for group in self._engine.optimizer.param_groups:
                group["lr"] = learning_rate(step, len(self._plan.steps), self._settings)
            loss, tokens, save = self._step(step)
            if self._speaks:
                tell(Path(self._settings.events), STEP, step=step + 1, loss=loss, tokens=tokens)
            if save and step + 1 < len(self._plan.steps):
                self._save(step + 1)

    def _step(self, step: int) -> tuple[float, int, bool]:
        """Carry out one step; return its mean loss per trained token, the tokens it read, and whether a checkpoint is due."""
        dealt = self._plan.steps[step].ranks
        trained = sum(self._rows.trained_tokens(row) for rank in dealt for packed in rank for row in packed)
        mine = dealt[self._rank]
        total = torch.zeros((), device=self._device)
        for number, chosen in enumerate(mine, 1):
            self._engine.set_gradient_accumulation_boundary(number == len(mine))
            losses = token_losses(self._engine, pack(self._rows, chosen, self._device)).sum()
            # DeepSpeed averages over the ranks: times their number, this is the sum over ranks of a share of one mean.
            self._engine.backward(losses * (self._ranks / max(trained, 1)))
            total += losses.detach()
        mean, due = self._agree(total / max(trained, 1))
        if not math.isfinite(mean):
            raise self._diverged(step, "the loss")
        self._engine.step()
        if not math.isfinite(float(self._engine.get_global_grad_norm())):
            raise self._diverged(step, "the gradient's norm")
        return mean, sum(self._rows.lengths[row] for rank in dealt for packed in rank for row in packed), due

    def _agree(self, share: torch.Tensor) -> tuple[float, bool]:
        """Sum the ranks' shares of the loss; rank 0's clock says when a checkpoint is due, any node that it has no room for one yet."""
        minutes = self._settings.checkpoint_minutes
        due = self._rank == 0 and minutes > 0 and time.monotonic() - self._saved_at >= 60 * minutes
        votes = torch.tensor([due, self._speaks and self._is_uploading()], device=share.device, dtype=torch.float64)
        sums = torch.cat([share.double().reshape(1), votes])
        distributed.all_reduce(sums)
        return float(sums[0]), bool(sums[1]) and not sums[2]

    def _is_uploading(self) -> bool:
        """Whether this node's part of the last checkpoint is still here: the parent removes it once it is in the store."""
        folder = Path(self._settings.checkpoints)
        return folder.exists() and any(entry.is_dir() for entry in folder.iterdir())

    def _diverged(self, step: int, what: str) -> TooManyRefused:
        return TooManyRefused(
            f"{what} is not finite at step {step + 1} of {len(self._plan.steps)}: lower spec.training.learningRate "
            f"(now {self._settings.learning_rate:g}) or look for broken weights in spec.baseModel. Nothing was exported",
            "LossNotFinite",
        )

    def _save(self, step: int) -> None:
        started = time.monotonic()
        folder = Path(self._settings.checkpoints)
        self._engine.save_checkpoint(str(folder), tag=str(step), save_latest=False)
        distributed.barrier()
        self._saved_at = time.monotonic()
        if self._speaks:
            tell(Path(self._settings.events), CHECKPOINT, step=step, seconds=round(self._saved_at - started, 1))

    def _load(self, folder: str) -> None:
        loaded, _ = self._engine.load_checkpoint(str(Path(folder).parent), tag=Path(folder).name)
        if loaded is None:
            raise CorruptInput(f"DeepSpeed cannot read the checkpoint of step {self._settings.resume_step}")
        distributed.barrier()
        if self._speaks:
            shutil.rmtree(folder)  # hundreds of GB at 70B, and the next one will want the room
