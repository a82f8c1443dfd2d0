"""The stage table of a run: what each stage reads, what it is made of, which model its engine serves.

A stage's `fields` are the spec fields that can change its output, by path; nothing else enters its fingerprint.
"""

from rehearsal.api.run import RunSpec
from rehearsal.pipeline.reconstruction import reconstruction_stages
from rehearsal.pipeline.stage import Kind, Stage, engine_fields, seed_fields


def stages_of(spec: RunSpec, rounds: int = 1) -> tuple[Stage, ...]:
    """Return the sealed stages of a run in an order in which each reads only earlier ones. Preflight is not among them."""
    stages: list[Stage] = []
    if made := spec.reconstructed:
        stages += reconstruction_stages(spec, made, rounds)
    stages += [_mix(spec), _train(spec)]
    if spec.evaluation.tasks:
        stages += [_evaluate(spec, "base"), _evaluate(spec, "tuned")]
    return (*stages, _report(spec, stages))


def external_inputs(spec: RunSpec) -> dict[str, str]:
    """Return name -> URI of everything a run reads that it did not make."""
    found = {"baseModel": spec.base_model.uri, "domain": spec.domain.uri}
    if spec.reconstructed:
        found |= {f"model-{m.name}": m.model.uri for m in spec.reconstructed.committee.members if m.model}
    if spec.rehearsal.dataset and spec.rehearsal.dataset.uri:
        found["dataset"] = spec.rehearsal.dataset.uri
    found |= {f"task-{task.name}": task.uri for task in spec.evaluation.tasks}
    if spec.categories:
        found["categories"] = spec.categories.uri
    return found


def _mix(spec: RunSpec) -> Stage:
    external = {"domain": "domain", "tokenizer": "baseModel"}
    inputs: dict[str, str] = {}
    dataset: dict[str, object] = {}
    if spec.reconstructed:
        inputs["rehearsal"] = "select"
    elif spec.rehearsal.dataset:
        external["rehearsal"] = "dataset"
        dataset = {"rehearsal.dataset": spec.rehearsal.dataset.wire()}
    return Stage(
        name="mix",
        kind=Kind.MIX,
        fields={
            "mixture": spec.mixture.wire(),
            "domain.format": spec.domain.format,
            "training.sequenceLength": spec.training.sequence_length,
            **dataset,
            **seed_fields(spec),
        },
        external=external,
        inputs=inputs,
    )


def _train(spec: RunSpec) -> Stage:
    training = spec.training
    return Stage(
        name="train",
        kind=Kind.TRAIN,
        fields={
            "training.epochs": training.epochs,
            "training.learningRate": training.learning_rate,
            "training.warmupFraction": training.warmup_fraction,
            "training.globalBatch": training.global_batch,
            "training.sequenceLength": training.sequence_length,
            "training.packing": training.packing,
            "training.ranks": training.nodes * training.processes_per_node,
            **seed_fields(spec),
        },
        external={"model": "baseModel"},
        inputs={"mix": "mix"},
    )


def _evaluate(spec: RunSpec, subject: str) -> Stage:
    tasks = spec.evaluation.tasks
    external = {f"task.{task.name}": f"task-{task.name}" for task in tasks}
    return Stage(
        name=f"evaluate-{subject}",
        kind=Kind.EVALUATE,
        fields={
            "evaluation.limit": spec.evaluation.limit,
            "evaluation.tasks": [{"name": task.name, "role": task.role} for task in tasks],
            **engine_fields(spec.base_model, "model"),
        },
        external=external | ({"model": "baseModel"} if subject == "base" else {}),
        inputs={} if subject == "base" else {"model": "train"},
        subject=subject,
        serving=spec.base_model.serving,
    )


def _report(spec: RunSpec, stages: list[Stage]) -> Stage:
    return Stage(
        name="report",
        kind=Kind.REPORT,
        external={"categories": "categories"} if spec.categories and spec.reconstructed else {},
        inputs={stage.name: stage.name for stage in stages if not stage.name.startswith("elicit-")},
    )
