"""A platform that forgets a store or an endpoint, as a `helm upgrade` without its values does: runs hold, and go on when it is back."""

import pytest

from rehearsal.api.platform import Platform
from rehearsal.api.status import State
from tests.faults.world import GPU, NAME, NAMESPACE, World, created, deleted, outcome, stage_of
from tests.unit.worlds import a_platform

ENDPOINT = {"openai": {"url": "https://api.openai.com/v1", "secret": "openai"}}
GONE = (
    "spec.store: the platform has no store 'default' any more; it has none. Nothing that needs it is started, what is at work goes on; "
    "name it in the platform again"
)


def a_forgetful_platform(**values: object) -> Platform:
    return a_platform(**{"device": {"resource": GPU}, "stores": {}} | values)


async def ticks(world: World, times: int) -> None:
    for _ in range(times):
        await world.tick()


def stalled(world: World) -> tuple[str, str]:
    condition = world.status().condition("Stalled")
    assert condition.status == "True", world.lines()
    return condition.reason, condition.message


@pytest.mark.fault(74)
async def test_a_store_that_is_gone_at_any_moment_stops_no_job_and_starts_none_and_the_run_goes_on_when_it_is_back(moments):
    for moment in moments[1:-1:2]:
        world = moment.fork()
        made, gone = created(world), deleted(world)
        world.platform = a_forgetful_platform()
        await ticks(world, 12)
        assert (created(world), deleted(world)) == (made, gone)
        assert world.is_true("Complete") or stalled(world) == ("StoreGone", GONE)
        assert not world.is_true("Failed")
        world.platform = moment.platform
        await world.finish()
        assert outcome(world) == outcome(moments[-1])


@pytest.mark.fault(74)
async def test_what_ends_while_the_store_is_gone_is_recorded_and_what_is_next_says_what_it_waits_for(moments):
    world = next(m for m in moments if m.status().stage("elicit") and m.status().stage("elicit").state is State.RUNNING).fork()
    world.platform = a_forgetful_platform()
    await world.look()
    assert world.message("elicit") == "", "nobody is told to delete a Job that would not be made again"
    await ticks(world, 12)
    assert world.status().stage("elicit").state is State.SUCCEEDED
    words = "StoreGone: the platform has no store 'default' any more; it has none"
    assert (world.status().stage("filter").state, world.message("filter")) == (State.PENDING, words)


@pytest.mark.fault(74)
async def test_a_job_that_waits_for_room_keeps_its_place_though_all_values_are_lost_and_come_back():
    """Without its values an upgrade resets the sizes of pods too, for which a Job that waits is made anew otherwise."""
    had = a_platform(device={"resource": GPU}, enginePod={"cpu": "4", "memory": "16Gi"})
    world = World(had)
    world.cluster.node.refuses = lambda pod: "no room" if "-elicit-" in pod["metadata"]["name"] else ""
    await world.submit()
    await ticks(world, 10)
    (waits,) = world.jobs(stage="elicit")
    world.platform = a_forgetful_platform(device={})
    await ticks(world, 5)
    assert waits["metadata"]["uid"] not in world.status().folded, "what it takes is counted once it has ended"
    world.platform = had
    world.cluster.node.refuses = lambda _: ""
    await world.finish()
    (kept,) = world.jobs(stage="elicit")
    assert kept["metadata"]["uid"] == waits["metadata"]["uid"]


@pytest.mark.fault(74)
async def test_a_run_that_is_complete_stays_so_whatever_its_platform_forgets(moments):
    world = moments[-1].fork()
    world.platform = a_forgetful_platform()
    await ticks(world, 3)
    assert world.is_true("Complete")
    assert not world.is_true("Stalled")


@pytest.mark.fault(74)
async def test_a_run_that_is_edited_while_its_store_is_gone_keeps_its_jobs_and_one_that_is_suspended_does_not(moments):
    at_work = next(m for m in moments if m.jobs(stage="elicit"))
    for edit in ({"seed": 7}, {"queueName": "gpu"}):
        world = at_work.fork()
        world.platform = a_forgetful_platform()
        world.cluster.edit(NAMESPACE, NAME, **edit)
        await ticks(world, 12)
        assert not deleted(world)
        assert stalled(world) == ("StoreGone", GONE)
        world.platform = at_work.platform
        await world.finish()
        assert world.is_true("Complete")
    world = at_work.fork()
    world.platform = a_forgetful_platform()
    world.cluster.edit(NAMESPACE, NAME, suspend=True)
    await world.tick()
    assert world.is_true("Suspended")
    assert not world.live()


@pytest.mark.fault(74)
async def test_a_store_that_the_platform_never_had_is_refused_and_goes_on_when_it_has_one():
    world = World(a_forgetful_platform())
    await world.submit()
    await ticks(world, 3)
    assert stalled(world) == ("Refused", "spec.store: the platform has no store 'default'; it has none")
    assert world.is_true("Failed")
    assert not created(world)
    world.platform = a_platform(device={"resource": GPU})
    await world.finish()
    assert world.is_true("Complete")


@pytest.mark.fault(74)
async def test_an_edit_to_a_store_that_the_platform_never_had_is_refused_and_frees_its_jobs(moments):
    world = next(m for m in moments if m.jobs(stage="elicit")).fork()
    world.cluster.edit(NAMESPACE, NAME, store="attic")
    await world.tick()
    assert stalled(world)[0] == "Refused"
    assert not world.live()


@pytest.mark.fault(74)
async def test_an_endpoint_that_is_gone_holds_the_stages_that_ask_it_and_no_other():
    world = World(a_forgetful_platform(stores={"default": {"folder": {"path": "/store"}}}, endpoints=ENDPOINT))
    had = world.platform
    members = [{"name": "base", "base": True}, {"name": "gpt", "endpoint": {"name": "openai", "model": "gpt-4o"}}]
    judging = {"judges": ["base"], "minJudges": 1}
    await world.submit(rehearsal={"reconstructed": {"count": 100, "committee": {"members": members}, "judging": judging}})
    while not world.jobs(stage="elicit"):
        await world.tick()
    world.platform = a_forgetful_platform(stores={"default": {"folder": {"path": "/store"}}})
    await ticks(world, 30)
    assert {stage_of(job) for job in world.jobs()} == {"preflight", "elicit", "filter", "respond-base"}
    assert stalled(world)[0] == "EndpointGone"
    assert "committee.members[1].endpoint.name: the platform has no endpoint 'openai' any more" in stalled(world)[1]
    assert world.status().stage("respond-base").state is State.SUCCEEDED
    world.platform = had
    await world.finish()
    assert world.is_true("Complete")
    world.platform = a_forgetful_platform(stores={"default": {"folder": {"path": "/store"}}})
    await world.look()
    assert world.is_true("Complete")


@pytest.mark.fault(74)
@pytest.mark.parametrize("left", [{}, {"stores": {"default": {"folder": {"path": "/store"}}}}], ids=["nothing", "its store"])
async def test_a_run_that_is_edited_while_its_endpoint_is_gone_keeps_its_jobs_though_none_of_them_asks_it(left):
    world = World(a_forgetful_platform(stores={"default": {"folder": {"path": "/store"}}}, endpoints=ENDPOINT))
    had = world.platform
    members = [{"name": "base", "base": True}, {"name": "gpt", "endpoint": {"name": "openai", "model": "gpt-4o"}}]
    judging = {"judges": ["base"], "minJudges": 1}
    await world.submit(rehearsal={"reconstructed": {"count": 100, "committee": {"members": members}, "judging": judging}})
    world.store.slow.add("elicit")
    while not world.jobs(stage="elicit"):
        await world.tick()
    world.platform = a_forgetful_platform(**left)
    await ticks(world, 3)
    world.cluster.edit(NAMESPACE, NAME, retry="again")
    await ticks(world, 6)
    assert not deleted(world)
    assert stalled(world)[0] == ("EndpointGone" if left else "StoreGone")
    world.platform = had
    world.store.slow.clear()
    await world.finish()
    assert world.is_true("Complete")
    assert len(world.jobs(stage="elicit")) == 1
