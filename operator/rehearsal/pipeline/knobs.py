"""What of a spec is part of a stage's identity: every field that is set, but for the knobs listed here, each with its reason.

A field that nobody listed counts. `tests/unit/pipeline/test_every_field.py` holds the list against the schema, both ways.
"""

from collections.abc import Collection, Mapping

from rehearsal.api.model import ApiModel
from rehearsal.api.reconstruction import Filters
from rehearsal.api.run import Categories, Dataset, Domain, Evaluation, EvaluationTask, RunSpec, Training
from rehearsal.api.serving import Model, Serving

BY_DIGEST = "An address; the bytes found there enter by their digest, or by the hub's commit."

Knobs = Mapping[type[ApiModel], Mapping[str, str]]
"""Model -> field -> why it does not count."""

KNOBS: Knobs = {
    RunSpec: {
        "suspend": "Stops and resumes the run.",
        "retry": "Clears a failure; what was committed stays.",
        "store": "Where artifacts lie. Preflight looks for seals in the store that is named.",
        "queue_name": "Where Jobs wait.",
        "scheduling": "Where pods may run.",
        "ttl_seconds_after_finished": "When finished Jobs are removed.",
    },
    Model: {"uri": BY_DIGEST},
    Domain: {"uri": BY_DIGEST},
    Dataset: {"uri": BY_DIGEST},
    EvaluationTask: {"uri": BY_DIGEST},
    Categories: {"uri": BY_DIGEST},
    Serving: {
        "tensor_parallel": "Devices that hold one copy of the model: the same samples but for rounding.",
        "replicas": "Pods that share the rows of a stage; a row's seed follows from its index.",
    },
    Training: {
        "zero_stage": "How the optimizer's state is divided among ranks.",
        "offload": "Where the optimizer's state is kept.",
        "checkpoint_minutes": "How much an interruption loses; a resumed run ends with the same loss.",
        "gradient_checkpointing": "Activations are computed again instead of kept.",
    },
    Filters: {"max_refused": "A bound on what may be lost: it fails a run and changes no row."},
    Evaluation: {"max_forgetting": "A bound on the result, not a way to it."},
}
"""What of a spec does not change what any stage computes, and why."""

BLOCKS = ("base_model", "rehearsal", "domain", "mixture", "training", "evaluation", "categories")
"""The parts of a spec that only some stages read. What stands beside them is read by every stage that draws."""


def fields_of(part: ApiModel, path: str, but: Collection[str] = (), knobs: Knobs = KNOBS) -> dict[str, object]:
    """Return path -> value of every field that is set in a part of a spec, its knobs left out.

    `but` names fields of the part (in Python's spelling) that another stage reads, or that have no effect on this one.
    """
    found: dict[str, object] = {}
    for name, field in type(part).model_fields.items():
        value = getattr(part, name)
        if value is None or name in but or name in knobs_of(type(part), knobs):
            continue
        where = f"{path}.{field.alias}" if path else str(field.alias)
        found |= fields_of(value, where, (), knobs) if isinstance(value, ApiModel) else {where: _plain(value, knobs)}
    return found


def draw_fields(spec: RunSpec) -> dict[str, object]:
    """Return the fields that decide every draw."""
    return fields_of(spec, "", but=BLOCKS)


def knobs_of(model: type[ApiModel], knobs: Knobs = KNOBS) -> Mapping[str, str]:
    """Return the knobs of a model and of those that it extends, with their reasons."""
    return {name: why for kind in model.__mro__ for name, why in knobs.get(kind, {}).items()}


def _plain(value: object, knobs: Knobs) -> object:
    """Return a value that JSON can hold; of models in lists and maps, what counts."""
    if isinstance(value, ApiModel):
        return fields_of(value, "", (), knobs)
    if isinstance(value, Mapping):
        return {key: _plain(inner, knobs) for key, inner in value.items()}
    return [_plain(inner, knobs) for inner in value] if isinstance(value, list | tuple) else value
