"""The stage table of a run: what each stage reads, what it is made of, which model its engine serves.

A stage's `fields` are the spec fields that can change its output, by path; nothing else enters its fingerprint.
"""

from rehearsal.api.run import MixtureMode, RunSpec
from rehearsal.pipeline.reconstruction import reconstruction_stages
from rehearsal.pipeline.sources import fetch_stages, sources_of
from rehearsal.pipeline.stage import Kind, Stage, engine_fields, seed_fields


def stages_of(spec: RunSpec, rounds: int = 1) -> tuple[Stage, ...]:
    """Return the sealed stages of a run in an order in which each reads only earlier ones. Preflight is not among them."""
    stages = list(fetch_stages(spec))
    if made := spec.reconstructed:
        stages += reconstruction_stages(spec, made, rounds)
    stages += [_mix(spec), _train(spec)]
    if spec.evaluation.tasks or spec.evaluation.suite:
        stages += [_evaluate(spec, "base"), _evaluate(spec, "tuned")]
    return (*stages, _report(spec, stages))


def _mix(spec: RunSpec) -> Stage:
    base = sources_of(spec).models["baseModel"]
    external = {"domain": "domain", **base.outside("tokenizer")}
    inputs = base.inside("tokenizer")
    dataset: dict[str, object] = {}
    if spec.reconstructed:
        inputs["rehearsal"] = "select"
    elif chosen := spec.rehearsal.dataset:
        if chosen.preset:
            inputs["rehearsal"] = "fetch-dataset"
        else:
            external["rehearsal"] = "dataset"
        dataset = {"rehearsal.dataset": chosen.wire()}
    return Stage(
        name="mix",
        kind=Kind.MIX,
        fields={
            **_mixture_fields(spec),
            "domain.format": spec.domain.format,
            "training.sequenceLength": spec.training.sequence_length,
            **dataset,
            **seed_fields(spec),
        },
        external=external,
        inputs=inputs,
    )


def _mixture_fields(spec: RunSpec) -> dict[str, object]:
    """Return what decides how many rows of either set are mixed; without rehearsal, or where both are taken whole, little does."""
    mixture = spec.mixture
    if not (spec.reconstructed or spec.rehearsal.dataset):
        return {"mixture.totalSamples": mixture.total_samples}
    if mixture.mode is MixtureMode.CONCATENATE:
        return {"mixture.mode": mixture.mode}
    return {f"mixture.{name}": value for name, value in mixture.wire().items()}


def _train(spec: RunSpec) -> Stage:
    training, base = spec.training, sources_of(spec).models["baseModel"]
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
        external=base.outside("model"),
        inputs={**base.inside("model"), "mix": "mix"},
        nodes=training.nodes,
    )


def _evaluate(spec: RunSpec, subject: str) -> Stage:
    tasks, base = spec.evaluation.tasks, sources_of(spec).models["baseModel"]
    suite = {"evaluation.suite": spec.evaluation.suite} if spec.evaluation.suite else {}
    questions = {f"task.{task.name}": f"task-{task.name}" for task in tasks}
    model = base.inside("model") if subject == "base" else {"model": "train"}
    return Stage(
        name=f"evaluate-{subject}",
        kind=Kind.EVALUATE,
        fields={
            "evaluation.limit": spec.evaluation.limit,
            "evaluation.tasks": [{"name": task.name, "role": task.role} for task in tasks],
            **suite,
            **engine_fields(spec.base_model, "model"),
        },
        external={**questions, **(base.outside("model") if subject == "base" else {})},
        inputs={**model, **({"suite": "fetch-suite"} if suite else {})},
        subject=subject,
        serving=spec.base_model.serving,
    )


def _report(spec: RunSpec, stages: list[Stage]) -> Stage:
    return Stage(
        name="report",
        kind=Kind.REPORT,
        external={"categories": "categories"} if spec.categories and spec.reconstructed else {},
        inputs={
            stage.name: stage.name for stage in stages if stage.kind is not Kind.FETCH and not stage.name.startswith("elicit-")
        },
    )
