"""Nodes that train together, in a run that is suspended, deleted, edited, or meets another run or a stranger's object."""

import pytest

from rehearsal.api.status import State
from tests.faults.connection import Connection
from tests.faults.pairs import LOST, a_world, attempts, until
from tests.faults.world import NAME, NAMESPACE, created, outcome


@pytest.mark.fault(18)
async def test_suspended_at_any_moment_and_resumed_it_goes_on_where_it_was(together):
    for moment in together[1:]:
        world = moment.fork()
        world.cluster.edit(NAMESPACE, NAME, suspend=True)
        await world.finish()
        assert not world.live()
        world.cluster.edit(NAMESPACE, NAME, suspend=False)
        await world.look()
        await world.finish()
        assert outcome(world).seals == outcome(together[-1]).seals
        assert set(world.store.work.values()) == {1}


@pytest.mark.fault(16)
async def test_deleted_at_any_moment_the_run_takes_jobs_pods_and_service_with_it(together):
    for moment in together:
        world = moment.fork()
        await world.remove("ReconstructionRun", NAME)
        for _ in range(3):
            await world.look()
            world.cluster.step()
        assert not [key for key in world.cluster.objects.items if key[0] in ("Job", "Pod", "Service")]


@pytest.mark.fault(18)
async def test_other_nodes_for_the_same_ranks_are_the_same_stage_and_the_next_attempt_has_them(together):
    """The guard: the fingerprint holds the number of ranks, the Job's digest of knobs how they lie."""
    world = together[-1].fork()
    world.cluster.edit(NAMESPACE, NAME, training={"nodes": 1, "processesPerNode": 16})
    await world.finish()
    assert world.is_true("Complete")
    assert not set(created(world)[len(created(together[-1])) :]) & {job["metadata"]["name"] for job in world.jobs(stage="train")}
    assert outcome(world).seals == outcome(together[-1]).seals

    stuck = await until(await a_world(*[LOST] * 3), State.WAITING)
    stuck.cluster.edit(NAMESPACE, NAME, training={"nodes": 1, "processesPerNode": 16})
    await stuck.look()
    await stuck.finish()
    assert attempts(stuck)[-1]["spec"]["completions"] == 1


@pytest.mark.fault(64)
async def test_two_runs_that_share_a_training_do_not_both_begin_it_anew():
    """The guard: between its attempts a run waits for the other's Job, and takes its result as it would have before its first."""
    world = await a_world(LOST)
    await world.submit("other", rehearsal={}, training={"nodes": 2})
    await world.finish(NAME, "other")
    assert world.is_true("Complete")
    assert world.is_true("Complete", "other")
    assert sorted(stage.state for stage in (world.status().stage("train"), world.status("other").stage("train"))) == [
        State.REUSED,
        State.SUCCEEDED,
    ]
    assert len(world.jobs(stage="train")) == 2
    assert set(world.store.work.values()) == {1}


@pytest.mark.fault(6)
async def test_a_strangers_service_in_the_way_is_told_and_no_job_begins_without_it():
    calm = await until(await a_world(), State.RUNNING)
    (service,) = calm.cluster.objects.list("Service", NAMESPACE)
    world = await a_world()
    await world.look()
    theirs = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": service["metadata"]["name"], "namespace": NAMESPACE}}
    await world.cluster.create(theirs | {"spec": {"selector": {"app": "theirs"}}})
    for _ in range(10):
        await world.tick()
    name = service["metadata"]["name"]
    assert world.status().condition("Stalled").message == (
        f"train: a Service {name} that is not this run's stands in the way: remove it"
    )
    assert not attempts(world)
    assert world.cluster.objects.get("Service", NAMESPACE, name)["spec"] == {"selector": {"app": "theirs"}}
    quiet = Connection(world.cluster)
    await world.look(through=quiet)
    assert quiet.writes == 0
    await world.remove("Service", name)
    await world.finish()
    assert world.is_true("Complete")
