"""An API server that fails, hangs, refuses, or was faster than the operator."""

from contextlib import suppress
from itertools import pairwise

import pytest

from rehearsal.api.status import State
from rehearsal.cluster.port import Forbidden, Unavailable
from tests.faults.connection import Connection
from tests.faults.world import NAME, NAMESPACE, World, created, deleted, outcome, rejoins


async def calls_of(moment: World) -> list[tuple[str, str]]:
    connection = Connection(moment.fork().cluster)
    await moment.look(through=connection)
    return connection.calls


@pytest.mark.fault(4)
async def test_a_status_that_somebody_changed_meanwhile_is_not_overwritten_and_no_event_tells_of_the_lost_one(moments):
    for moment in moments:
        world = moment.fork()
        connection, gates = Connection(world.cluster), []

        async def edited_after_the_observation(verb: str, world: World = world, gates: list[str] = gates) -> None:
            gates.append(verb)
            if len(gates) == 2:
                world.cluster.edit(NAMESPACE, NAME, seed=7)

        connection.gate = edited_after_the_observation
        await world.look(through=connection)
        if ("patch_status", "ReconstructionRun") in connection.calls:
            assert world.status() == moment.status()
            assert connection.calls[-1] == ("patch_status", "ReconstructionRun")
            assert world.run()["spec"]["seed"] == 7
            await world.look()
            assert world.status().observed_generation == 2


@pytest.mark.fault(13)
@pytest.mark.parametrize("carried_out", [False, True], ids=["never reached it", "answer lost"])
async def test_a_call_that_fails_anywhere_deletes_nothing_fails_nothing_and_the_next_look_goes_on(moments, carried_out):
    for moment in moments[::2]:
        undisturbed = await moment.fork().rest()
        for number, (verb, _) in enumerate(await calls_of(moment)):
            if carried_out and verb not in ("create", "delete", "patch_status", "emit"):
                continue
            world = moment.fork()
            connection = Connection(world.cluster)
            connection.fail = (number, Unavailable("connection refused"), carried_out)
            # An event and a log are courtesies: what was done and what is known stand without them.
            with suppress(Unavailable) if verb in ("emit", "log_tail") else pytest.raises(Unavailable):
                await world.look(through=connection)
            assert not deleted(world)
            assert all(stage.state is not State.FAILED for stage in world.status().stages)
            await world.rest()
            await rejoins(world, undisturbed, moments[-1])
            assert len(created(world)) == len(set(created(world)))


@pytest.mark.fault(14)
async def test_a_wait_that_the_api_server_asked_for_reaches_whoever_decides_when_to_look_again(moments):
    for number in range(len(await calls_of(moments[5].fork()))):
        connection = Connection(moments[5].fork().cluster)
        connection.fail = (number, Unavailable("too many requests", retry_after=7), False)
        with pytest.raises(Unavailable) as caught:
            await moments[5].look(through=connection)
        assert caught.value.retry_after == 7


@pytest.mark.fault(13)
async def test_running_jobs_go_on_while_the_api_server_is_down_for_ten_minutes_and_the_run_resumes(moments):
    for moment in moments[::5]:
        world = moment.fork()
        for _ in range(120):
            world.cluster.step()
        await world.finish()
        assert outcome(world) == outcome(moments[-1])


@pytest.mark.fault(15)
@pytest.mark.parametrize(
    ("verb", "kind"), [("create", "Job"), ("list", "Job"), ("pods", "Pod"), ("patch_status", "ReconstructionRun")]
)
async def test_a_right_that_is_missing_is_told_by_verb_and_kind_and_the_other_runs_go_on(moments, verb, kind):
    world = next(a for a, b in pairwise(moments) if a.jobs(stage="elicit") and len(b.jobs()) > len(a.jobs())).fork()
    await world.submit("other")
    shrunk = Connection(world.cluster)
    shrunk.forbidden.add((verb, kind))
    with pytest.raises(Forbidden, match=f"{verb} {kind}"):
        await world.look(through=shrunk)
    await world.finish("other")
    assert world.is_true("Complete", "other")
    assert not deleted(world)
    await world.finish()
    assert world.is_true("Complete")


@pytest.mark.fault(25)
async def test_a_look_costs_a_bounded_number_of_calls_and_a_look_at_nothing_new_writes_nothing(moments):
    """Reads: the run, its Jobs, at most three for each Job and one for each open stage. Writes: new Jobs, one status, what it tells."""
    for before, after in pairwise(moments):
        connection = Connection(before.fork().cluster)
        await before.look(through=connection)
        jobs, new = len(before.jobs()), len(after.jobs()) - len(before.jobs())
        still_open = [stage for stage in before.status().stages if not stage.sealed]
        reads = [call for call in connection.calls if call[0] in ("get", "list", "pods", "events", "log_tail")]
        assert len(reads) <= 2 + 3 * jobs + len(still_open)
        assert connection.writes <= new + 1 + 3
    quiet = Connection(moments[-1].fork().cluster)
    await moments[-1].look(through=quiet)
    assert quiet.writes == 0
    assert len(quiet.calls) <= 2 + len(moments[-1].jobs())
