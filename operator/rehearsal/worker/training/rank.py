"""One rank from start to export: join, load, prove what has to be proven, train, export."""

from pathlib import Path

from torch import distributed

from rehearsal.worker.training import attention, engine, export
from rehearsal.worker.training.events import EXPORTED, STARTED, tell
from rehearsal.worker.training.rows import Rows
from rehearsal.worker.training.settings import Settings
from rehearsal.worker.training.trainer import Trainer
from rehearsal.worker.weights import weights_of

PROOF_ROWS = 4


def train(settings: Settings) -> None:
    """Carry out a training run as rank `RANK` of torchrun's world."""
    device = engine.join()
    leads = distributed.get_rank() == 0
    events = Path(settings.events)
    rows = Rows(Path(settings.rows))
    plan = settings.plan(rows.lengths, distributed.get_world_size())
    tuned = engine.start(settings, distributed.get_world_size())
    export.check_names(tuned.module, weights_of(Path(settings.model)))
    if settings.packing:
        proof = sorted(range(len(rows)), key=lambda row: rows.lengths[row])[:PROOF_ROWS]
        attention.prove_separation(tuned, rows, proof, device)
    if leads:
        tell(events, STARTED, steps=len(plan.steps))
    Trainer(settings, tuned, rows, plan, device).run()
    export.export(tuned.module, Path(settings.export), leads)
    if leads:
        tell(events, EXPORTED)
    distributed.barrier()
    distributed.destroy_process_group()
