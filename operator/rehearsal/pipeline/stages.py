"""The stage table of a run: what each stage reads, what it is made of, which model its engine serves.

A stage's `fields` are its part of the spec by path, but for what `knobs` lists; nothing else enters its fingerprint.
"""

from rehearsal.api.run import MixtureMode, RunSpec
from rehearsal.pipeline.knobs import draw_fields, fields_of
from rehearsal.pipeline.reconstruction import reconstruction_stages
from rehearsal.pipeline.sources import fetch_stages, sources_of
from rehearsal.pipeline.stage import Kind, Stage


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
    if spec.reconstructed:
        inputs["rehearsal"] = "select"
    elif chosen := spec.rehearsal.dataset:
        if chosen.preset:
            inputs["rehearsal"] = "fetch-dataset"
        else:
            external["rehearsal"] = "dataset"
    return Stage(
        name="mix",
        kind=Kind.MIX,
        fields={
            **_mixture_fields(spec),
            **fields_of(spec.domain, "domain"),
            **fields_of(spec.rehearsal, "rehearsal", but={"reconstructed"}),
            "training.sequenceLength": spec.training.sequence_length,
            **draw_fields(spec),
        },
        external=external,
        inputs=inputs,
    )


def _mixture_fields(spec: RunSpec) -> dict[str, object]:
    """Return what decides how many rows of either set are mixed: less of it without rehearsal, or where both are taken whole."""
    without_effect: set[str] = set()
    if not (spec.reconstructed or spec.rehearsal.dataset):
        without_effect = {"mode", "domain_fraction", "unit", "repeat_domain"}
    elif spec.mixture.mode is MixtureMode.CONCATENATE:
        without_effect = {"domain_fraction", "unit"}
    return fields_of(spec.mixture, "mixture", but=without_effect)


def _train(spec: RunSpec) -> Stage:
    training, base = spec.training, sources_of(spec).models["baseModel"]
    return Stage(
        name="train",
        kind=Kind.TRAIN,
        fields={
            **fields_of(training, "training", but={"nodes", "processes_per_node"}),
            "training.ranks": training.nodes * training.processes_per_node,
            **draw_fields(spec),
        },
        external=base.outside("model"),
        inputs={**base.inside("model"), "mix": "mix"},
        nodes=training.nodes,
    )


def _evaluate(spec: RunSpec, subject: str) -> Stage:
    tasks, base = spec.evaluation.tasks, sources_of(spec).models["baseModel"]
    questions = {f"task.{task.name}": f"task-{task.name}" for task in tasks}
    model = base.inside("model") if subject == "base" else {"model": "train"}
    return Stage(
        name=f"evaluate-{subject}",
        kind=Kind.EVALUATE,
        fields={**fields_of(spec.evaluation, "evaluation"), **fields_of(spec.base_model, "model")},
        external={**questions, **(base.outside("model") if subject == "base" else {})},
        inputs={**model, **({"suite": "fetch-suite"} if spec.evaluation.suite else {})},
        subject=subject,
        serving=spec.base_model.serving,
    )


def _report(spec: RunSpec, stages: list[Stage]) -> Stage:
    categories = spec.categories if spec.reconstructed else None
    return Stage(
        name="report",
        kind=Kind.REPORT,
        fields=fields_of(categories, "categories") if categories else {},
        external={"categories": "categories"} if categories else {},
        inputs={stage.name: stage.name for stage in stages if stage.kind is not Kind.FETCH and stage.round == 1},
    )
