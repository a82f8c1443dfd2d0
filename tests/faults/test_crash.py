"""An operator that is killed: whatever it had written, the next one goes on from there."""

from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import pairwise

import pytest

from tests.faults.connection import Connection, Crash
from tests.faults.world import World, created, outcome, rejoins, stage_of, story


async def killed_after(world: World, writes: int) -> None:
    """Look once, with an operator that is killed when it has written so often."""
    connection = Connection(world.cluster)
    connection.crash_after = writes
    with pytest.raises(Crash):
        await world.look(through=connection)


async def writes_of(moment: World) -> int:
    """How often the next look writes."""
    connection = Connection(moment.cluster)
    world = moment.fork()
    connection.cluster = world.cluster
    await world.look(through=connection)
    return connection.writes


async def killed_at_every_write(moments: list[World]) -> AsyncIterator[tuple[World, World]]:
    """Every way to be killed: the world after it, and the world that an undisturbed operator leaves behind."""
    for moment in moments:
        undisturbed = await moment.fork().rest()
        for kth in range(1, await writes_of(moment) + 1):
            world = moment.fork()
            await killed_after(world, kth)
            yield world, undisturbed


@pytest.mark.fault(1)
async def test_an_operator_killed_after_any_write_of_a_run_and_restarted_at_once_converges(moments):
    async for world, undisturbed in killed_at_every_write(moments):
        await world.rest()
        assert sorted(created(world)) == sorted(created(undisturbed))
        await rejoins(world, undisturbed, moments[-1])


@pytest.mark.fault(1)
async def test_an_operator_killed_after_any_write_of_a_run_and_restarted_when_the_cluster_has_gone_on_converges(moments):
    async for world, _ in killed_at_every_write(moments[::4]):
        for _ in range(4):
            world.cluster.step()
        await world.finish()
        assert outcome(world) == outcome(moments[-1])
        assert sorted(created(world)) == sorted(created(moments[-1]))


@pytest.mark.fault(1)
async def test_an_operator_killed_while_rounds_are_added_converges():
    moments = await story(rounds=2)
    assert moments[-1].status().stage("elicit2")
    async for world, undisturbed in killed_at_every_write(moments):
        await world.rest()
        await rejoins(world, undisturbed, moments[-1])


@pytest.mark.fault(1)
async def test_an_operator_killed_while_nodes_train_together_and_between_their_attempts_converges(together):
    async for world, undisturbed in killed_at_every_write(together):
        await world.rest()
        assert sorted(created(world)) == sorted(created(undisturbed))
        await rejoins(world, undisturbed, together[-1])


@pytest.mark.fault(1)
async def test_an_operator_killed_at_every_one_of_its_writes_still_gets_there(moments):
    """The guard: each look depends on nothing but what was written."""
    world = moments[0].fork()
    for _ in range(200):
        try:
            connection = Connection(world.cluster)
            connection.crash_after = 1
            await world.look(through=connection)
        except Crash:
            continue
        world.cluster.step()
    assert outcome(world) == outcome(moments[-1])


@pytest.mark.fault(1)
async def test_an_operator_killed_while_it_suspends_a_run_loses_no_gpu_hour_of_it(moments):
    """The guard: what a Job consumed is written down before the Job is deleted."""
    for moment in [moment for moment in moments if moment.live()]:
        calm = moment.fork()
        calm.cluster.edit("research", "medical", suspend=True)
        writes = await writes_of(calm)
        for kth in range(1, writes + 1):
            world = calm.fork()
            await killed_after(world, kth)
            await world.finish()
            assert world.is_true("Suspended")
            assert not world.live()
            assert outcome(world).gpu_hours == outcome(await calm.fork().finish()).gpu_hours


@pytest.mark.fault(2)
async def test_jobs_of_an_operator_that_died_between_its_status_and_its_creates_are_there_once_after_the_next_look(moments):
    """The guard: a Job is found by its owner's UID, and its name is a function of what it is; one that is told and not there is made."""
    tried = 0
    for before, after in pairwise(moments):
        new = [job["metadata"]["name"] for job in after.jobs()][len(before.jobs()) :]
        for kth in range(len(new) + 1):
            world = before.fork()
            connection = Connection(world.cluster)
            connection.crash_after = kth
            with suppress(Crash):
                await world.look(through=connection)
            await world.look()
            assert [job["metadata"]["name"] for job in world.jobs()][len(before.jobs()) :] == new
            assert sorted(created(world)) == sorted(set(created(world)))
            told = {stage.name: stage.job for stage in world.status().stages}
            assert all(told[stage_of(job)] == job["metadata"]["name"] for job in world.jobs()[len(before.jobs()) :])
        tried += bool(new)
    assert tried > 5
