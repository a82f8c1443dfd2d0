"""Two operators at once: an old leader that does not know it yet, a rollout that overlaps, a second installation."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faults.turns import Operator, every_interleaving
from tests.faults.world import created, essence, outcome


@pytest.mark.fault(3)
async def test_two_operators_that_look_at_the_same_moment_do_what_one_does_in_every_order(moments):
    """The guard: the second create of a name is as good as the first."""
    for moment in moments:
        alone = await moment.fork().rest()
        async for world in every_interleaving(moment):
            await world.rest()
            assert len(created(world)) == len(set(created(world)))
            assert essence(world) == essence(alone)


@pytest.mark.fault(3)
async def test_two_operators_begin_the_same_attempts_of_nodes_that_train_together(together):
    for moment in together:
        alone = await moment.fork().rest()
        async for world in every_interleaving(moment):
            await world.rest()
            assert len(created(world)) == len(set(created(world)))
            assert essence(world) == essence(alone)


@pytest.mark.fault(3)
async def test_two_operators_that_stop_the_jobs_of_an_edited_run_stop_each_of_them_once(moments):
    for moment in [moment for moment in moments if moment.live()][::2]:
        edited = moment.fork()
        edited.cluster.edit("research", "medical", suspend=True)
        alone = await edited.fork().rest()
        async for world in every_interleaving(edited):
            await world.rest()
            assert not world.live()
            assert outcome(world) == outcome(alone)


@pytest.mark.fault(3)
@settings(max_examples=12, derandomize=True)
@given(turns=st.lists(st.sampled_from(["first", "second", "first dies", "second dies", "time"]), max_size=150))
async def test_two_operators_that_race_and_die_all_along_a_run_converge(moments, turns):
    world = moments[0].fork()
    operators = {"first": Operator(world), "second": Operator(world)}
    for turn in turns:
        name, _, dies = turn.partition(" ")
        if name == "time":
            world.cluster.step()
        elif dies:
            await operators[name].die()
        elif operators[name].busy:
            await operators[name].go()
        else:
            await operators[name].begin()
    for operator in operators.values():
        await operator.die()
    await world.finish()
    assert outcome(world) == outcome(moments[-1])
    assert sorted(created(world)) == sorted(created(moments[-1]))
