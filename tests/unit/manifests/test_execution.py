"""Which change of the platform a Job that waits for a pod heeds: exactly one that changes its pod, or what its pod cannot get."""

from typing import Any

import pytest

from rehearsal.api.platform import Platform
from rehearsal.manifests.execution import execution_digest, supplies_digest
from rehearsal.pipeline.fingerprint import fingerprints
from rehearsal.pipeline.stages import stages_of
from tests.unit.manifests.test_jobs import GPU, INPUTS, SPEC, STAGES, job_of
from tests.unit.worlds import parsed

OTHERS: dict[str, Any] = {
    "backoffLimit": 2,
    "clientPod": {"cpu": "3"},
    "cpuStage": {"cpu": "3"},
    "deadlineSeconds": 3600,
    "device": {"resource": "amd.com/gpu", "nodeSelector": {"pool": "mi300"}},
    "engine": {"args": ["--enforce-eager"]},
    "enginePod": {"cpu": "3"},
    "limits": {"progressSeconds": 7},
    "modelScratch": "300Gi",
    "progressSeconds": 7,
    "scratch": "60Gi",
    "serviceAccount": "another",
    "sharedMemory": "8Gi",
    "trainPod": {"cpu": "3"},
    "trainScratch": "700Gi",
    "trainer": {"env": {"NCCL_DEBUG": "INFO"}},
}
"""Another value of each field that is not where images and Secrets come from."""
SUPPLIES: dict[str, Any] = {
    "endpoints": {"judge": {"url": "https://judge.example/v1", "secret": "judge"}},
    "hub": {"secret": "hub-token"},
    "images": {"inference": "registry.example/inference:2"},
    "stores": {"default": {"s3": {"bucket": "another", "secret": "another"}}},
}


def with_other(**values: Any) -> Platform:
    return Platform.model_validate(GPU.wire() | values)


def test_every_field_of_the_platform_is_one_or_the_other() -> None:
    assert OTHERS.keys() | SUPPLIES.keys() == GPU.wire().keys()


@pytest.mark.parametrize("field", OTHERS)
def test_execution_changes_with_a_field_if_it_changes_the_stages_pod_and_not_else(field: str) -> None:
    other = with_other(**{field: OTHERS[field]})
    for stage in STAGES.values():
        before, after = (job_of(stage, platform)["spec"]["template"]["spec"] for platform in (GPU, other))
        heeded = execution_digest(SPEC, stage, GPU) != execution_digest(SPEC, stage, other)
        assert heeded == (before != after), stage.name
    assert supplies_digest(other) == supplies_digest(GPU)


@pytest.mark.parametrize("field", SUPPLIES)
def test_where_images_and_secrets_come_from_matters_to_pods_that_cannot_get_one_alone(field: str) -> None:
    other = with_other(**{field: SUPPLIES[field]})
    assert supplies_digest(other) != supplies_digest(GPU)
    assert all(execution_digest(SPEC, stage, other) == execution_digest(SPEC, stage, GPU) for stage in STAGES.values())


def test_execution_changes_with_the_runs_knobs_that_do_not_change_the_output() -> None:
    stage = STAGES["elicit"]
    plain = execution_digest(parsed(), stage, GPU)
    assert plain != execution_digest(parsed(queueName="gpu"), stage, GPU)
    assert plain == execution_digest(parsed(mixture={"domainFraction": 0.5}), stage, GPU)
    for key in (fingerprints(stages_of(parsed(queueName=queue)), INPUTS)["elicit"] for queue in ("gpu", "cpu")):
        assert key == fingerprints(stages_of(parsed()), INPUTS)["elicit"]
