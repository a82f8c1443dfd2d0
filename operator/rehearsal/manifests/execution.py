"""How a stage is run, which is not what it computes: two digests on each Job, by which one that waits is known to wait in vain."""

from rehearsal.api.platform import Platform
from rehearsal.api.run import RunSpec
from rehearsal.pipeline.fingerprint import digest
from rehearsal.pipeline.stage import ENGINE_KINDS, Kind, Stage

DIGITS = 16
"""Enough to tell two apart that stand side by side."""


def execution_digest(spec: RunSpec, stage: Stage, platform: Platform) -> str:
    """Return the digest of the knobs that place a stage's pod and start it: the run's, and the platform's for such a pod."""
    knobs: dict[str, object] = {"scheduling": spec.scheduling.wire(), "queueName": spec.queue_name}
    knobs["platform"] = platform.model_dump(mode="json", include=_placing(stage))
    if stage.serving:
        knobs["serving"] = stage.serving.wire()
    if stage.kind is Kind.TRAIN:
        knobs["training"] = spec.training.wire()
    return digest(knobs)[:DIGITS]


def supplies_digest(platform: Platform) -> str:
    """Return the digest of where images and Secrets are taken from. It matters to a pod that cannot get one, and to no other."""
    return digest(platform.model_dump(mode="json", include={"images", "stores", "endpoints", "hub"}))[:DIGITS]


def _placing(stage: Stage) -> set[str]:
    """The platform's values that size, place and start the pods of a stage."""
    every = {"service_account", "scratch"}
    if stage.kind is Kind.TRAIN:
        return every | {"train_pod", "train_scratch", "client_pod", "model_scratch", "shared_memory", "device", "trainer"}
    if stage.kind in ENGINE_KINDS and stage.serving:
        return every | {"engine_pod", "client_pod", "model_scratch", "shared_memory", "device", "engine"}
    return every | {"cpu_stage"} | ({"model_scratch"} if stage.kind is Kind.FETCH else set())
