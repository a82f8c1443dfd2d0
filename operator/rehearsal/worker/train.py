"""Train the base model on the mix: torchrun and DeepSpeed do the work; this program gives it to them and seals what they made.

Not covered: a checkpoint on SIGTERM. A run that is stopped goes on from its last one by the clock.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rehearsal.api.messages import Refused
from rehearsal.data.steps import StepPlan
from rehearsal.store.commit import Manifest
from rehearsal.worker.checkpoints import Checkpoints, World
from rehearsal.worker.context import Context, Outcome, log
from rehearsal.worker.model_files import read_config
from rehearsal.worker.node import Node
from rehearsal.worker.torchrun import run_ranks
from rehearsal.worker.training.memory import Machine, decide, offered
from rehearsal.worker.training.rows import write_rows
from rehearsal.worker.training.settings import Settings
from rehearsal.worker.training.shape import ModelShape
from rehearsal.worker.watch import Watch
from rehearsal.worker.weights import beside_weights, parameters, weights_of


def run(context: Context) -> Outcome | None:
    """Seal the tuned model: the base model's files, with its weights replaced. Of several nodes the first one does, and tells."""
    node = Node.of(context)
    if sealed := context.output.manifest():
        return Outcome(sealed) if node.leads else None
    training, machine = context.spec.training, Machine.of(context.task)
    need = decide(_shape(context.model_dir), training, machine)
    counted = f"{need.words}; a pod has {offered(machine)}"
    log(f"needed: {counted}")
    work = context.scratch / "training"
    shutil.rmtree(work, ignore_errors=True)
    lengths = write_rows(context.input("mix").rows(), work / "rows")
    if not lengths:
        raise Refused("the mix holds no row to train on: see what select and mix refused", "NothingToTrain")
    settings = _settings(context, work, need.offload)
    plan = settings.plan(lengths, node.world)
    world = World(plan_digest=plan.digest, ranks=node.world, zero_stage=training.zero_stage, offload=need.offload)
    settings = _resumed(settings, Checkpoints(context.output), world, node, work / "resumed")
    settings.save(work / "settings.json")
    with Watch(context, node, Path(settings.checkpoints), world, len(plan.steps)) as watch:
        run_ranks(work / "settings.json", Path(settings.events), node, watch.heard, counted)
    if not node.leads:
        return None
    return Outcome(_seal(context, Path(settings.export), plan, lengths, watch.loss))


def _shape(model: Path) -> ModelShape:
    return ModelShape.of(read_config(model, "spec.baseModel"), parameters(weights_of(model)))


def _settings(context: Context, work: Path, offload: bool) -> Settings:
    training, work = context.spec.training, work.resolve()
    return Settings(
        device="cpu" if context.task.limits.use_cpu else "cuda",
        model=str(context.model_dir.resolve()),
        rows=str(work / "rows"),
        export=str(work / "export"),
        checkpoints=str(work / "checkpoints"),
        events=str(work / "events.jsonl"),
        resume=None,
        resume_step=0,
        origin="",
        global_batch=training.global_batch,
        sequence_length=training.sequence_length,
        epochs=training.epochs,
        packing=training.packing,
        seed=f"{context.spec.seed}/{context.spec.rerun}",
        learning_rate=training.learning_rate,
        warmup_fraction=training.warmup_fraction,
        zero_stage=training.zero_stage,
        offload=offload,
        gradient_checkpointing=training.gradient_checkpointing,
        checkpoint_minutes=training.checkpoint_minutes,
    )


def _resumed(settings: Settings, checkpoints: Checkpoints, world: World, node: Node, into: Path) -> Settings:
    """Go on from the last sealed checkpoint, if there is one."""
    if (saved := checkpoints.latest()) is None:
        return settings
    folder = checkpoints.fetch(saved, world, node.ranks, into)
    log(f"going on from the checkpoint at step {saved.step}")
    return replace(settings, resume=str(folder.resolve()), resume_step=saved.step, origin=saved.digest)


def _seal(context: Context, exported: Path, plan: StepPlan, lengths: Sequence[int], loss: float) -> Manifest:
    epochs = context.spec.training.epochs
    tell_dtype(context.model_dir, exported)
    ours = sorted(exported.iterdir())
    paths = [*ours, *(path for path in beside_weights(context.model_dir) if path.name not in {own.name for own in ours})]
    return context.output.seal(
        0,
        files=[context.output.add_file(path.name, path) for path in paths],
        facts={
            "steps": len(plan.steps),
            "samples": len(lengths) * epochs,
            "tokens": sum(lengths) * epochs,
            "finalLoss": round(loss, 6),
            "planDigest": plan.digest,
        },
    )


def tell_dtype(model: Path, exported: Path) -> None:
    """Write the configuration beside the exported weights, which are bf16, where the base model's says otherwise."""
    config = read_config(model, "spec.baseModel")
    told = [name for name in ("dtype", "torch_dtype") if name in config] or ["dtype"]
    if any(config.get(name) != "bfloat16" for name in told):
        (exported / "config.json").write_text(json.dumps({**config, **dict.fromkeys(told, "bfloat16")}, indent=2))
