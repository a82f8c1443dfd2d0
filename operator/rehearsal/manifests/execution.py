"""How a stage is run, which is not what it computes: each Job carries, in short digests, what it was ordered with.

A Job with no pod at work is ordered anew when these are others by now. A field of the platform that is not listed here counts
for every stage.
"""

from collections.abc import Callable, Collection, Mapping

from rehearsal.api.platform import Platform
from rehearsal.api.run import RunSpec
from rehearsal.pipeline.fingerprint import digest
from rehearsal.pipeline.knobs import Knobs, fields_of
from rehearsal.pipeline.stage import ENGINE_KINDS, Kind, Stage

DIGITS = 8
"""Enough to tell two values apart that stand side by side."""

UNTOLD: Knobs = {Platform: {"progress_seconds": "The pace of status writes; no Job is told."}}
"""The platform's values that no Job is ordered with, and why."""

SUPPLIES: Mapping[str, str] = {
    "images": "An upgrade of the release is such an edit.",
    "backoff_limit": "How often a Job may try; one that has not begun has all its tries.",
    "deadline_seconds": "How long a Job may live; one that has not begun has all its time.",
}
"""Field of the platform -> why a Job that waits for room keeps its place when it changes. One that has begun has none to keep."""


def _trains(stage: Stage) -> bool:
    return stage.kind is Kind.TRAIN


def _reckons_with_training(stage: Stage) -> bool:
    """Train itself, and what asks beforehand whether it fits."""
    return stage.kind in (Kind.PREFLIGHT, Kind.FETCH, Kind.TRAIN)


def _serves(stage: Stage) -> bool:
    return stage.kind in ENGINE_KINDS and stage.serving is not None


def _holds_a_model(stage: Stage) -> bool:
    return _trains(stage) or _serves(stage)


HEEDED_BY: Mapping[str, Callable[[Stage], bool]] = {
    "train_pod": _reckons_with_training,
    "trainer": _trains,
    "train_scratch": _reckons_with_training,
    "engine_pod": _serves,
    "engine": _serves,
    "client_pod": _holds_a_model,
    "shared_memory": _holds_a_model,
    "device": _holds_a_model,
    "scratch": lambda stage: stage.kind not in (Kind.FETCH, Kind.TRAIN),
    "model_scratch": lambda stage: _holds_a_model(stage) or stage.kind is Kind.FETCH,
    "cpu_stage": lambda stage: not _holds_a_model(stage),
    "hub": lambda stage: stage.kind is Kind.FETCH,
    "endpoints": lambda stage: stage.endpoint is not None,
}
"""Field of the platform -> the stages whose pods it shapes, or that are told of it. Every other field counts for all stages."""


def execution_digest(spec: RunSpec, stage: Stage, platform: Platform) -> str:
    """Return `field=digest` of all values that place a stage's pod and start it, or that it is told: the run's, and the platform's."""
    values: dict[str, object] = {"scheduling": spec.scheduling.wire(), "queueName": spec.queue_name}
    if stage.serving:
        values["serving"] = stage.serving.wire()
    if _trains(stage):
        values["training"] = spec.training.wire()
    unheeded = {name for name, heeds in HEEDED_BY.items() if not heeds(stage)}
    return _written(values | _by_block(_used(spec, stage, platform), {*SUPPLIES, *unheeded}))


def supplies_digest(platform: Platform) -> str:
    """Return `field=digest` of where images are taken from and how long a Job goes on, which matters once a pod was to start."""
    return _written(_by_block(platform, Platform.model_fields.keys() - SUPPLIES.keys()))


def others(before: str, now: str) -> tuple[str, ...]:
    """Return the fields whose values are others now, by the digests of a Job and those of today."""
    old, new = _read(before), _read(now)
    return tuple(sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name)))


def _used(spec: RunSpec, stage: Stage, platform: Platform) -> Platform:
    """The platform with no store and no endpoint but those that the stage uses."""
    stores = {name: store for name, store in platform.stores.items() if name == spec.store}
    asked = stage.endpoint.name if stage.endpoint else None
    endpoints = {name: endpoint for name, endpoint in platform.endpoints.items() if name == asked}
    return platform.model_copy(update={"stores": stores, "endpoints": endpoints})


def _by_block(platform: Platform, but: Collection[str]) -> dict[str, dict[str, object]]:
    """The platform's values by its own fields."""
    found: dict[str, dict[str, object]] = {}
    for path, value in fields_of(platform, "", but, UNTOLD).items():
        found.setdefault(f"platform.{path.partition('.')[0]}", {})[path] = value
    return found


def _written(values: Mapping[str, object]) -> str:
    return " ".join(f"{name}={digest(value)[:DIGITS]}" for name, value in sorted(values.items()))


def _read(text: str) -> dict[str, str]:
    """Digests by field; another release may have written something else."""
    return {name: value for name, _, value in (part.partition("=") for part in text.split())}
