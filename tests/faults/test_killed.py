"""Pods that die or are killed: a few of each index are survived, too many fail the run, which says what may help."""

import pytest

from rehearsal.api.messages import ExitCode, Termination
from tests.faults.node import Ended
from tests.faults.world import NAME, NAMESPACE, World, outcome
from tests.unit.worlds import a_platform

KILLED = Ended(ExitCode.KILLED)
STAGES = ["elicit", "respond-base", "judge-base", "mix", "train"]


async def a_world(stage: str, times: int) -> World:
    world = World(a_platform(device={"resource": "nvidia.com/gpu"}, backoffLimit=2))
    world.store.endings = {stage: [KILLED] * times}
    await world.submit()
    return await world.finish()


@pytest.mark.fault(41)
@pytest.mark.parametrize("stage", STAGES)
async def test_a_pod_that_is_killed_twice_is_replaced_twice_and_the_run_comes_to_the_same_end(moments, stage):
    world = await a_world(stage, 2)
    assert world.is_true("Complete")
    assert outcome(world).seals == outcome(moments[-1]).seals


@pytest.mark.fault(41)
@pytest.mark.parametrize("stage", STAGES)
async def test_one_kill_too_many_fails_the_run_which_hints_at_memory_and_goes_on_when_told_to(moments, stage):
    world = await a_world(stage, 3)
    assert world.is_true("Failed")
    failed = world.status().stage(stage)
    assert failed.exit_code == ExitCode.KILLED
    assert "exit code 137: killed; if it ran out of memory, give the pod more" in failed.message
    assert stage in world.status().condition("Failed").message
    world.cluster.edit(NAMESPACE, NAME, retry="2")
    await world.look()
    await world.finish()
    assert world.is_true("Complete")
    assert outcome(world).seals == outcome(moments[-1]).seals


@pytest.mark.fault(73)
async def test_single_deaths_of_different_replicas_are_survived_however_many_there_are(moments):
    world = World(a_platform(device={"resource": "nvidia.com/gpu"}, backoffLimit=2))
    world.store.endings = {"elicit": [Ended(ExitCode.DEVICE)] * 8}
    await world.submit(baseModel={"uri": "store://base", "serving": {"replicas": 8}})
    await world.finish()
    assert world.is_true("Complete"), world.lines()
    assert outcome(world).seals == outcome(moments[-1]).seals
    (job,) = world.jobs(stage="elicit")
    assert job["status"]["failed"] == 8


@pytest.mark.fault(73)
async def test_a_replica_that_dies_too_often_fails_the_stage_in_its_own_words():
    world = World(a_platform(device={"resource": "nvidia.com/gpu"}, backoffLimit=1))
    word = Termination(reason="EngineUnusable", message="the engine died in mid-shard")
    world.store.endings = {"elicit": [Ended(ExitCode.DEVICE, word)] * 4}
    await world.submit(baseModel={"uri": "store://base", "serving": {"replicas": 2}})
    await world.finish()
    assert world.is_true("Failed")
    assert world.message("elicit") == "EngineUnusable: the engine died in mid-shard"
