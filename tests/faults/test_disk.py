"""Nodes whose disk fills: the kubelet evicts, which Kubernetes ignores; the run counts it and says so in the kubelet's words."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from rehearsal.api.messages import ExitCode
from rehearsal.cluster.port import Manifest
from rehearsal.manifests.jobs import LABEL
from tests.faults.memory import STEP
from tests.faults.pairs import attempts
from tests.faults.world import NAME, NAMESPACE, World, deleted, outcome
from tests.unit.worlds import a_platform

LOW = (
    "The node was low on resource: ephemeral-storage. Threshold quantity: 10Gi, available: 7Gi. "
    "Container main was using 90Gi, request is 0, has larger consumption of ephemeral-storage."
)


def a_world(limit: int = 2) -> World:
    return World(a_platform(device={"resource": "nvidia.com/gpu"}, backoffLimit=limit))


def of_stage(stage: str, times: int | None = None) -> Callable[[Manifest], str]:
    """A kubelet that evicts pods of a stage, so many of them or all."""
    seen: list[str] = []

    def evicts(pod: Manifest) -> str:
        if pod["metadata"]["labels"][f"{LABEL}/stage"] != stage or (times is not None and len(seen) >= times):
            return ""
        seen.append(pod["metadata"]["name"])
        return LOW

    return evicts


@pytest.mark.fault(72)
@pytest.mark.parametrize("stage", ["elicit", "mix"])
async def test_evictions_for_want_of_disk_fail_a_stage_at_its_limit_in_the_kubelets_words(moments, stage):
    world = a_world()
    world.cluster.node.evicts = of_stage(stage)
    await world.submit()
    await world.finish()
    assert world.message(stage) == f"Evicted: {LOW} (3 pods of one replica failed or were evicted)"
    assert world.status().stage(stage).exit_code == ExitCode.KILLED
    assert world.is_true("Failed")
    assert len(deleted(world)) == 1
    world.cluster.node.evicts = lambda _: ""
    world.cluster.edit(NAMESPACE, NAME, retry="with more disk")
    await world.look()
    await world.finish()
    assert outcome(world).seals == outcome(moments[-1]).seals


@pytest.mark.fault(72)
async def test_evictions_below_the_limit_are_survived_and_the_last_one_is_kept(moments):
    world = a_world()
    world.cluster.node.evicts = of_stage("elicit", times=2)
    await world.submit()
    told = ""
    while not world.is_true("Complete"):
        await world.tick()
        told = told or world.message("elicit")
    assert told == f"its last pod was taken away: TerminationByKubelet: {LOW}"
    last = world.status().stage("elicit").last_disruption
    assert (last.reason, last.message) == ("TerminationByKubelet", LOW)
    assert outcome(world).seals == outcome(moments[-1]).seals


@pytest.mark.fault(72)
async def test_evictions_of_nodes_that_train_together_count_against_their_attempts():
    world = a_world()
    world.cluster.node.evicts = of_stage("train")
    await world.submit(rehearsal={}, training={"nodes": 2})
    for _ in range(timedelta(minutes=5) // STEP):
        await world.tick()
    assert len(attempts(world)) == 3
    assert world.message("train") == f"Evicted: {LOW}"
    assert world.is_true("Failed")
