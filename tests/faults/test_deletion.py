"""Runs and Jobs that somebody deletes: nothing of a run outlives it but its artifacts, and nothing sealed is made twice."""

from contextlib import suppress
from datetime import timedelta

import pytest

from rehearsal.api.status import State
from rehearsal.cluster.port import NotFound
from tests.faults.connection import Connection
from tests.faults.world import NAME, NAMESPACE, World, created, outcome, stage_of


def names_created_since(moment: World, world: World) -> list[str]:
    return created(world)[len(created(moment)) :]


def made_once(world: World) -> bool:
    return set(world.store.work.values()) == {1}


@pytest.mark.fault(16)
async def test_a_run_deleted_at_any_moment_takes_its_jobs_and_pods_with_it_and_leaves_its_artifacts(moments):
    for moment in moments:
        world = moment.fork()
        await world.remove("ReconstructionRun", NAME)
        for _ in range(3):
            assert await world.look() is None
            world.cluster.step()
        assert not world.jobs()
        assert not world.cluster.objects.list("Pod")
        assert set(moment.store.seals) <= set(world.store.seals)
        assert created(world) == created(moment)


@pytest.mark.fault(16)
async def test_a_run_that_is_being_deleted_gets_no_new_job(moments):
    for moment in moments:
        world = moment.fork()
        run = world.run()
        marked = run["metadata"] | {"deletionTimestamp": "2026-01-01T12:00:00Z", "finalizers": ["foregroundDeletion"]}
        world.cluster.objects.replace(run | {"metadata": marked})
        connection = Connection(world.cluster)
        await world.look(through=connection)
        assert ("create", "Job") not in connection.calls


@pytest.mark.fault(16)
async def test_a_job_created_in_the_moment_of_the_runs_deletion_is_collected(moments):
    for moment in moments:
        world = moment.fork()
        connection = Connection(world.cluster)

        async def deleted_meanwhile(verb: str, world: World = world) -> None:
            if verb == "create" and world.cluster.objects.get("ReconstructionRun", NAMESPACE, NAME):
                await world.remove("ReconstructionRun", NAME)

        connection.gate = deleted_meanwhile
        with suppress(NotFound):
            await world.look(through=connection)
        if ("create", "Job") in connection.calls:
            for _ in range(3):
                world.cluster.step()
            assert not world.jobs()
            assert not world.cluster.objects.list("Pod")


@pytest.mark.fault(17)
async def test_a_run_deleted_and_created_again_at_once_has_jobs_of_its_own_and_uses_what_was_sealed(moments):
    for moment in moments[::4]:
        world = moment.fork()
        old = {job["metadata"]["name"] for job in world.jobs()}
        sealed = {stage.name for stage in world.status().stages if stage.sealed}
        await world.remove("ReconstructionRun", NAME)
        await world.submit()
        await world.finish()
        assert not old & set(names_created_since(moment, world))
        assert made_once(world)
        assert outcome(world).seals == outcome(moments[-1]).seals
        assert all(world.status().stage(name).state is State.REUSED for name in sealed)


@pytest.mark.fault(20)
async def test_jobs_deleted_by_hand_at_any_moment_come_back_only_for_what_is_not_recorded_as_sealed(moments):
    for moment in moments[1::4]:
        world = moment.fork()
        sealed = {stage.name for stage in world.status().stages if stage.sealed}
        stages = {job["metadata"]["name"]: stage_of(job) for job in moments[-1].jobs()}
        for job in world.jobs():
            await world.remove("Job", job["metadata"]["name"])
        await world.finish()
        assert not sealed & {stages[name] for name in names_created_since(moment, world)}
        assert made_once(world)
        assert outcome(world).seals == outcome(moments[-1]).seals


@pytest.mark.fault(20)
async def test_a_finished_run_whose_jobs_are_all_gone_starts_none(moments):
    world = moments[-1].fork()
    for job in world.jobs():
        await world.remove("Job", job["metadata"]["name"])
    for _ in range(5):
        await world.tick()
    assert not world.jobs()
    assert world.is_true("Complete")
    assert outcome(world).gpu_hours == outcome(moments[-1]).gpu_hours


@pytest.mark.fault(20)
async def test_jobs_that_the_cluster_removed_when_their_time_was_over_are_not_started_again(moments):
    world = moments[-1].fork()
    world.cluster.now += timedelta(days=2)
    world.cluster.step()
    assert not world.jobs()
    for _ in range(5):
        await world.tick()
    assert not world.jobs()
    assert world.is_true("Complete")


@pytest.mark.fault(20)
async def test_a_job_may_not_go_the_moment_it_ends():
    """The guard: a Job that is gone before anyone looked would be created again and again."""
    world = World()
    await world.submit(ttlSecondsAfterFinished=0)
    await world.look()
    assert world.is_true("Failed")
    assert "ttlSecondsAfterFinished" in world.status().condition("Failed").message
