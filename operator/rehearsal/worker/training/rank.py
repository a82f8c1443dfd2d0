"""One rank from start to export: join, load, prove what has to be proven, train, export."""

from pathlib import Path

from torch import distributed

from rehearsal.worker.training import engine
from rehearsal.worker.training.attention import proof_of, prove_separation
from rehearsal.worker.training.events import JOINED, STARTED, tell
from rehearsal.worker.training.export import export
from rehearsal.worker.training.group import agree, is_first_of_node
from rehearsal.worker.training.rows import Rows
from rehearsal.worker.training.settings import Settings
from rehearsal.worker.training.trainer import Trainer


def train(settings: Settings) -> None:
    """Carry out a training run as rank `RANK` of torchrun's world."""
    device = engine.join()
    events = Path(settings.events)
    attempt = agree(settings.origin)
    if is_first_of_node():
        tell(events, JOINED, attempt=attempt)
    rows = Rows(Path(settings.rows))
    plan = settings.plan(rows.lengths, distributed.get_world_size())
    tuned = engine.start(settings, distributed.get_world_size(), device)
    if proof := proof_of((pack for step in plan.steps for packs in step.ranks for pack in packs), rows.lengths):
        prove_separation(tuned, rows, proof, device)
    if is_first_of_node():
        tell(events, STARTED, steps=len(plan.steps))
    Trainer(settings, tuned, rows, plan, device).run()
    export(tuned.module, Path(settings.export), writes=distributed.get_rank() == 0)
    distributed.barrier()  # whoever leaves earlier would look like one that died
    distributed.destroy_process_group()
