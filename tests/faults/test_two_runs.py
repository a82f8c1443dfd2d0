"""Two runs that need the same stages: one works, the other waits for it, and takes over when nothing comes of that."""

from collections.abc import Callable

import pytest

from rehearsal.api.messages import ExitCode, Termination
from rehearsal.api.status import State
from rehearsal.cluster.port import Manifest
from tests.faults.memory import STEP
from tests.faults.node import Ended
from tests.faults.turns import Operator
from tests.faults.world import NAMESPACE, World, created, outcome, stage_of

FIRST, SECOND = "first", "second"
NO_GPU = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."


async def together() -> list[World]:
    """The world before each look at two runs of one spec, and after the end of both."""
    world = World()
    await world.submit(FIRST)
    await world.submit(SECOND)
    moments = [world.fork()]
    while not (world.is_true("Complete", FIRST) and world.is_true("Complete", SECOND)):
        assert len(moments) < 100, (world.lines(FIRST), world.lines(SECOND))
        await world.tick(FIRST, SECOND)
        moments.append(world.fork())
    return moments


async def waiting_for_the_first() -> World:
    """The first run computes elicit, and the second waits for it."""
    world = World()
    await world.submit(FIRST)
    world.store.slow.add("elicit")
    while not world.jobs(FIRST, "elicit"):
        await world.tick(FIRST)
    await world.submit(SECOND)
    while not world.message("elicit", SECOND):
        await world.tick(FIRST, SECOND)
    assert world.status(SECOND).stage("elicit").state is State.WAITING
    assert world.message("elicit", SECOND) == "waits for run first, which computes this stage"
    assert not world.jobs(SECOND, "elicit")
    return world


async def finish_alone(world: World, seconds: float = 60) -> None:
    """The second run starts a Job of its own within that time, and comes to its end."""
    for _ in range(int(seconds / STEP.total_seconds())):
        await world.tick(SECOND)
        if world.jobs(SECOND, "elicit"):
            break
    assert world.jobs(SECOND, "elicit"), world.lines(SECOND)
    world.store.slow.clear()
    await world.finish(SECOND)
    assert world.is_true("Complete", SECOND)
    assert set(world.store.work.values()) == {1}


@pytest.mark.fault(64)
async def test_every_stage_of_two_equal_runs_is_computed_by_one_of_them_and_both_complete():
    end = (await together())[-1]
    assert outcome(end, FIRST).seals == outcome(end, SECOND).seals
    assert set(end.store.work.values()) == {1}
    stages = [stage for stage in end.stages_of_jobs() if stage != "preflight"]
    assert sorted(stages) == sorted({stage_of(job) for job in end.jobs()} - {"preflight"})
    assert len(created(end)) == len(set(created(end)))
    reused = [stage.name for stage in end.status(SECOND).stages if stage.state is State.REUSED]
    assert set(reused) & set(end.stages_of_jobs(FIRST))


@pytest.mark.fault(64)
async def test_a_run_whose_owner_is_suspended_takes_over():
    world = await waiting_for_the_first()
    world.cluster.edit(NAMESPACE, FIRST, suspend=True)
    await world.look(FIRST)
    await finish_alone(world)


@pytest.mark.fault(64)
async def test_a_run_whose_owner_is_edited_takes_over():
    world = await waiting_for_the_first()
    world.cluster.edit(NAMESPACE, FIRST, seed=7)
    for _ in range(6):
        await world.tick(FIRST)
    await finish_alone(world)


@pytest.mark.fault(64)
async def test_a_run_whose_owner_is_deleted_takes_over():
    world = await waiting_for_the_first()
    await world.remove("ReconstructionRun", FIRST)
    await finish_alone(world)


@pytest.mark.fault(64)
async def test_a_run_whose_owner_failed_takes_over():
    world = await waiting_for_the_first()
    world.store.slow.clear()
    world.store.endings["elicit"] = [Ended(ExitCode.REFUSED, Termination(reason="Refused", message="its own queue's fault"))]
    while not world.is_true("Failed", FIRST):
        await world.tick(FIRST)
    await finish_alone(world)


@pytest.mark.fault(64)
@pytest.mark.parametrize("held_by", ["the scheduler", "its queue"])
async def test_a_run_whose_owner_gets_no_pod_for_ten_minutes_takes_over(held_by):
    world = World()
    world.cluster.node.refuses = of_run(FIRST, NO_GPU) if held_by == "the scheduler" else world.cluster.node.refuses
    await world.submit(FIRST, **({} if held_by == "the scheduler" else {"queueName": "gpu-batch"}))
    while not world.status(FIRST).stage("elicit"):
        await world.tick(FIRST)
    world.cluster.kueue.open = set()
    await world.tick(FIRST)
    await world.submit(SECOND)
    for _ in range(12):
        await world.tick(FIRST, SECOND)
    assert world.message("elicit", SECOND) == "waits for run first, which computes this stage"
    for _ in range(120):
        await world.tick(FIRST, SECOND)
    assert world.status(SECOND).stage("elicit").state.done, world.lines(SECOND)
    world.cluster.node.refuses = lambda _: ""
    world.cluster.kueue.open = None
    await world.finish(FIRST, SECOND)
    assert world.is_true("Complete", SECOND)
    assert world.is_true("Complete", FIRST)
    assert set(world.store.work.values()) == {1}


@pytest.mark.fault(64)
async def test_whatever_becomes_of_one_run_at_any_moment_the_other_completes():
    moments = await together()
    for i, moment in enumerate(moments[1:-1:2]):
        world = moment.fork()
        gone, left = (FIRST, SECOND) if i % 2 else (SECOND, FIRST)
        if i % 3:
            await world.remove("ReconstructionRun", gone)
        else:
            world.cluster.edit(NAMESPACE, gone, suspend=True)
            await world.look(gone)
        await world.finish(left)
        assert world.is_true("Complete", left)
        assert outcome(world, left).seals == outcome(moments[-1], left).seals
        assert set(world.store.work.values()) == {1}


@pytest.mark.fault(64)
async def test_two_runs_that_start_the_same_stage_in_the_same_moment_both_complete():
    """A claim is a courtesy: two Jobs of one stage are waste, and one of two that wait for a pod is given up."""
    moments = await together()
    for moment in moments[:12:2]:
        world = moment.fork()
        operators = [Operator(world, name) for name in (FIRST, SECOND)]
        for operator in operators:
            await operator.begin()
        for operator in operators:
            await operator.go()
        while busy := [operator for operator in operators if operator.busy]:
            for operator in busy:
                await operator.go()
        await world.finish(FIRST, SECOND)
        for name in (FIRST, SECOND):
            assert outcome(world, name).seals == outcome(moments[-1], name).seals
        assert set(world.store.work.values()) == {1}
        assert not world.live()


@pytest.mark.fault(64)
async def test_a_seal_that_was_lost_is_made_again_though_another_runs_job_tells_of_it_still():
    moments = await together()
    world = next(m for m in moments if m.status(FIRST).stage("filter") and m.status(FIRST).stage("filter").sealed).fork()
    fingerprint = world.status(FIRST).stage("filter").fingerprint
    del world.store.seals[fingerprint]
    await world.finish(FIRST, SECOND)
    assert world.is_true("Complete", FIRST), world.lines(FIRST)
    assert world.is_true("Complete", SECOND), world.lines(SECOND)
    assert fingerprint in world.store.seals


def of_run(name: str, words: str) -> Callable[[Manifest], str]:
    """A scheduler that finds no room for one run's pods but preflight's."""

    def refuses(pod: Manifest) -> str:
        labels = pod["metadata"]["labels"]
        return words if labels["rehearsal.dev/run"] == name and labels["rehearsal.dev/stage"] != "preflight" else ""

    return refuses
