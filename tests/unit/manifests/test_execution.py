"""Which change of the platform a Job heeds that has no pod at work: every one that changes its pod, or what the pod is told."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import pytest

from rehearsal.api.platform import Platform
from rehearsal.api.task import Task
from rehearsal.manifests.execution import HEEDED_BY, SUPPLIES, UNTOLD, execution_digest, others, supplies_digest
from rehearsal.manifests.jobs import Order, build_job
from rehearsal.pipeline.fingerprint import fingerprints
from rehearsal.pipeline.knobs import knobs_of
from rehearsal.pipeline.stage import Kind, Stage
from rehearsal.pipeline.stages import stages_of
from tests.unit import leaves
from tests.unit.manifests.test_jobs import GPU, INPUTS, SPEC
from tests.unit.worlds import parsed

MEMBERS = [{"name": "base", "base": True}, {"name": "far", "endpoint": {"name": "judge", "model": "gpt"}}]
RUN = parsed(
    baseModel={"uri": "hf://owner/base@" + "a" * 40},
    rehearsal={"reconstructed": {"count": 100, "committee": {"members": MEMBERS}}},
)
STAGES = (*stages_of(RUN), Stage(name="preflight", kind=Kind.PREFLIGHT))
KNOWN = fingerprints(stages_of(RUN), INPUTS)
STORES = [
    {"stores": {"default": {"folder": {"path": "/store"}}}},
    {"stores": {"default": {"s3": {"bucket": "bucket", "secret": "key"}}}},
]
PLATFORMS = [
    Platform.model_validate(
        {
            **GPU.wire(),
            **store,
            "endpoints": {"judge": {"url": "https://judge.example/v1"}},
            "device": {
                "resource": "nvidia.com/gpu",
                "tolerations": [{"key": "gpu"}, {"operator": "Exists", "effect": "NoExecute"}],
            },
        }
    )
    for store in STORES
]
Before = Mapping[str, tuple[tuple[object, ...], tuple[str, str]]]
LEAVES = {leaf.path: leaf for leaf in leaves.leaves(Platform)}


def ordered(stage: Stage, platform: Platform) -> tuple[object, ...]:
    """What a stage's Job is made of, and what of the platform its program is told. Only who weighs the model heeds the room for it."""
    order = Order("research", "medical", "uid-1", RUN, stage, KNOWN.get(stage.name, "key"), 0, 1, INPUTS, KNOWN)
    job: Any = build_job(order, platform)
    bounds = {name: value for name, value in job["spec"].items() if name != "template"}
    template = job["spec"]["template"]
    task = Task.model_validate_json(template["metadata"]["annotations"]["rehearsal.dev/task"])
    told = (task.store, task.endpoint, task.hub, task.limits)
    weighed = (task.train_scratch, task.train_pod) if HEEDED_BY["train_scratch"](stage) else None
    return bounds, template["spec"], told, weighed


def digests(stage: Stage, platform: Platform) -> tuple[str, str]:
    return execution_digest(RUN, stage, platform), supplies_digest(platform)


def is_untold(leaf: leaves.Leaf) -> bool:
    return any(name in knobs_of(model, UNTOLD) for model, name in leaf.fields)


BEFORE = [{stage.name: (ordered(stage, platform), digests(stage, platform)) for stage in STAGES} for platform in PLATFORMS]


def edits(leaf: leaves.Leaf) -> Iterator[tuple[Before, Platform]]:
    for platform, before in zip(PLATFORMS, BEFORE, strict=True):
        yield from ((before, other) for other in islice(leaves.others(platform, leaf), 2))  # type: ignore[misc]


@pytest.mark.fault(78)
@pytest.mark.parametrize("path", LEAVES)
def test_a_job_says_of_every_value_of_the_platform_whether_it_was_ordered_with_it(path: str) -> None:
    """A value moves the digests of a stage's Job exactly if it changes that Job or what its pods are told; or no Job heeds it."""
    leaf, heeded = LEAVES[path], False
    found = list(edits(leaf))
    assert found, f"no other value of {path} was found: add a platform that has it, or a text that it takes"
    for before, after in found:
        for stage in STAGES:
            made, said = before[stage.name]
            changes = made != ordered(stage, after)
            assert (said != digests(stage, after)) == changes or path.startswith("images"), stage.name
            heeded |= changes
    assert heeded != is_untold(leaf), f"{path}: a stage's pods heed it, or else it stands in `UNTOLD` with its reason"


def test_a_new_value_of_the_platform_counts_for_every_stage() -> None:
    for way, before, after in leaves.blocks(PLATFORMS[0]):
        if not way:
            assert all(execution_digest(RUN, stage, before) != execution_digest(RUN, stage, after) for stage in STAGES)  # type: ignore[arg-type]


def test_what_is_listed_of_the_platform_is_there_and_has_a_reason() -> None:
    there = {field for leaf in LEAVES.values() for field in leaf.fields}
    assert {(model, name) for model, names in UNTOLD.items() for name in names} <= there
    assert {*SUPPLIES, *HEEDED_BY} <= Platform.model_fields.keys()
    assert all(len(why) > 10 for names in [*UNTOLD.values(), SUPPLIES] for why in names.values())


@pytest.mark.parametrize("others", [{"images": {"inference": "other"}}, {"backoffLimit": 2}, {"deadlineSeconds": 3600}])
def test_what_costs_no_job_its_place_in_a_queue_stands_apart(others: dict[str, Any]) -> None:
    other = Platform.model_validate(PLATFORMS[0].wire() | others)
    assert supplies_digest(other) != supplies_digest(PLATFORMS[0])
    assert all(execution_digest(RUN, stage, other) == execution_digest(RUN, stage, PLATFORMS[0]) for stage in STAGES)


def test_which_values_are_others_is_said_by_field_of_another_releases_digests_too() -> None:
    after = PLATFORMS[0].model_copy(update={"limits": PLATFORMS[0].limits.model_copy(update={"concurrency": 7}), "scratch": "9Gi"})
    stage = next(stage for stage in STAGES if stage.kind is Kind.FILTER)
    before = execution_digest(RUN, stage, PLATFORMS[0])
    assert others(before, execution_digest(RUN, stage, after)) == ("platform.limits", "platform.scratch")
    assert "platform.limits" in others("of-another-release", before)


def test_execution_changes_with_the_runs_knobs_that_do_not_change_the_output() -> None:
    stage = {stage.name: stage for stage in stages_of(SPEC)}["elicit"]
    plain = execution_digest(parsed(), stage, GPU)
    assert plain != execution_digest(parsed(queueName="gpu"), stage, GPU)
    assert plain == execution_digest(parsed(mixture={"domainFraction": 0.5}), stage, GPU)
    for key in (fingerprints(stages_of(parsed(queueName=queue)), INPUTS)["elicit"] for queue in ("gpu", "cpu")):
        assert key == fingerprints(stages_of(parsed()), INPUTS)["elicit"]
