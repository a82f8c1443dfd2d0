"""Observations that are old, missing, doubled or out of order: none of them is believed further than it reaches."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faults.connection import Connection
from tests.faults.world import World, created, deleted, outcome, rejoins

KINDS = {
    "everything": frozenset({"ReconstructionRun", "Job", "Pod", "Event"}),
    "jobs and pods": frozenset({"Job", "Pod"}),
    "pods": frozenset({"Pod"}),
}


async def look_back(world: World, earlier: World, kinds: str) -> int:
    """Look once, at what some kinds were at an earlier moment, and return how often that look wrote."""
    connection = Connection(world.cluster)
    connection.past, connection.past_kinds = earlier.cluster.snapshot(), KINDS[kinds]
    await world.look(through=connection)
    return connection.writes


@pytest.mark.fault(7)
@pytest.mark.parametrize(
    ("kinds", "every"),
    [
        ("everything", 1),
        ("jobs and pods", 2),
    ],
)
async def test_an_observation_replayed_from_any_earlier_moment_deletes_nothing_and_creates_nothing_twice(moments, kinds, every):
    for i, moment in enumerate(moments):
        undisturbed = await moment.fork().rest()
        for earlier in moments[:i:every]:
            world = moment.fork()
            if await look_back(world, earlier, kinds):
                await world.rest()
                assert not deleted(world)
                assert len(created(world)) == len(set(created(world)))
                await rejoins(world, undisturbed, moments[-1])


@pytest.mark.fault(7)
@pytest.mark.parametrize("kinds", ["everything", "jobs and pods"])
async def test_an_old_observation_of_nodes_that_train_together_begins_no_attempt_twice(together, kinds):
    for i, moment in enumerate(together):
        undisturbed = await moment.fork().rest()
        for earlier in together[:i]:
            world = moment.fork()
            if await look_back(world, earlier, kinds):
                await world.rest()
                assert not deleted(world)
                assert len(created(world)) == len(set(created(world)))
                await rejoins(world, undisturbed, together[-1])


@pytest.mark.fault(7)
async def test_pods_that_are_seen_as_they_were_cost_another_look_into_the_store_and_no_work(moments):
    """The guard: a Job whose pods have no word yet is taken for one whose word was lost (65), and finds its seal."""
    for earlier, moment in list(pairwise(moments))[::3]:
        world = moment.fork()
        if await look_back(world, earlier, "pods"):
            await world.finish()
            assert not deleted(world)
            assert outcome(world).seals == outcome(moments[-1]).seals
            assert outcome(world).work == outcome(moments[-1]).work


@pytest.mark.fault(7)
async def test_a_job_of_an_old_observation_that_another_of_its_name_has_replaced_is_not_deleted(moments):
    """The guard: a delete names the UID it saw."""
    moment = next(moment for moment in moments if moment.live())
    world = moment.fork()
    (old,) = world.jobs(stage="preflight")
    await world.remove("Job", old["metadata"]["name"])
    await world.look()
    (new,) = world.jobs(stage="preflight")
    assert new["metadata"]["uid"] != old["metadata"]["uid"]
    world.cluster.edit("research", "medical", suspend=True)
    await look_back(world, moment, "jobs and pods")
    assert world.jobs(stage="preflight") == [new]


@pytest.mark.fault(8)
async def test_a_run_converges_though_any_observation_is_missed(moments):
    for moment in moments:
        world = moment.fork()
        world.cluster.step()
        await world.finish()
        assert outcome(world) == outcome(moments[-1])


@pytest.mark.fault(8)
async def test_nodes_that_train_together_converge_though_any_observation_is_missed(together):
    for moment in together:
        world = moment.fork()
        world.cluster.step()
        await world.finish()
        assert outcome(world) == outcome(together[-1])


@pytest.mark.fault(9)
async def test_looking_twice_at_the_same_thing_writes_once(moments):
    for moment in moments:
        world = moment.fork()
        await world.rest()
        again = Connection(world.cluster)
        await world.look(through=again)
        assert again.writes == 0


@pytest.mark.fault(9)
@settings(max_examples=10, derandomize=True)
@given(looks=st.lists(st.integers(0, 3), max_size=60))
async def test_doubled_delayed_and_coalesced_events_change_no_decision(moments, looks):
    world: World = moments[0].fork()
    for times in looks:
        for _ in range(times):
            await world.look()
        world.cluster.step()
    await world.finish()
    assert outcome(world) == outcome(moments[-1])
    assert sorted(created(world)) == sorted(created(moments[-1]))
