"""A run of which one stage has failed says so at once, whatever its siblings do: those at work may end, those not begun are given up."""

from collections.abc import Callable

import pytest

from rehearsal.api.messages import ExitCode, Termination
from rehearsal.api.status import State
from rehearsal.cluster.port import Manifest
from rehearsal.controller.metrics import Metrics
from rehearsal.controller.reconcile import follow
from rehearsal.manifests.jobs import LABEL
from tests.faults.memory import stepping
from tests.faults.node import Ended
from tests.faults.pairs import until
from tests.faults.world import NAME, NAMESPACE, World, created, deleted, outcome

NO_GPU = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
REFUSED = Ended(ExitCode.REFUSED, Termination(reason="Refused", message="no such model"))
WORDS = "respond-base: Refused: no such model"


def no_room_for(stage: str) -> Callable[[Manifest], str]:
    return lambda pod: NO_GPU if pod["metadata"]["labels"][f"{LABEL}/stage"] == stage else ""


async def failed_beside(*, waiting: bool) -> World:
    """Respond-base is refused while respond-peer waits for room, or works and gets nothing done."""
    world = World()
    world.store.endings["respond-base"] = [REFUSED]
    if waiting:
        world.cluster.node.refuses = no_room_for("respond-peer")
    else:
        world.store.slow.add("respond-peer")
    await world.submit()
    return await until(world, State.FAILED, "respond-base")


def told(world: World, type_: str) -> tuple[str, str, str]:
    found = world.status().condition(type_)
    assert found
    return found.status, found.reason, found.message


@pytest.mark.fault(70)
@pytest.mark.parametrize("waiting", [True, False], ids=["waits", "works"])
async def test_a_run_is_failed_and_stalled_by_the_look_that_sees_its_stage_fail(waiting):
    world = await failed_beside(waiting=waiting)
    assert told(world, "Failed") == ("True", "StageFailed", WORDS)
    assert told(world, "Stalled") == ("True", "StageFailed", WORDS)
    assert told(world, "Ready") == ("False", "StageFailed", WORDS)
    assert told(world, "Reconciling")[0] == "False"
    counted = Metrics()
    counted.recorded((NAMESPACE, NAME), world.status(), world.status())
    assert b'rehearsal_runs{condition="Failed"} 1.0' in counted.page()


@pytest.mark.fault(70)
async def test_a_sibling_whose_pods_have_not_started_is_given_up_and_nothing_is_left(moments):
    world = await failed_beside(waiting=True)
    await world.tick()
    assert not world.jobs(stage="respond-peer")
    assert len(deleted(world)) == 1
    await world.rest()
    assert not world.live()
    assert world.status().stage("respond-peer").state is State.PENDING
    assert world.status().stage("respond-peer").message == ""
    assert (await world.look()).plan.finished
    world.cluster.node.refuses = lambda _: ""
    world.cluster.edit(NAMESPACE, NAME, retry="2")
    await world.look()
    assert not world.is_true("Failed")
    await world.finish()
    assert outcome(world).seals == outcome(moments[-1]).seals


@pytest.mark.fault(70)
async def test_a_sibling_at_work_may_end_and_what_it_makes_is_kept():
    world = await failed_beside(waiting=False)
    turn = await world.look()
    assert not turn.plan.finished
    assert turn.plan.look_again is not None
    assert told(world, "Reconciling")[2] == "nothing more is started; still at work: respond-peer"
    assert not deleted(world)
    world.store.slow.clear()
    for _ in range(4):
        await world.tick()
    assert world.status().stage("respond-peer").sealed
    assert told(world, "Failed") == ("True", "StageFailed", WORDS)
    assert told(world, "Reconciling")[2] == "nothing more is started"
    assert (await world.look()).plan.finished
    assert not [name for name in created(world) if "-judge-" in name]


@pytest.mark.fault(70)
async def test_who_follows_a_run_to_its_end_waits_for_its_siblings_at_work():
    world = await failed_beside(waiting=False)
    world.store.slow.clear()
    async with stepping(world.cluster):
        status = await follow(world.cluster, world.platform, NAMESPACE, NAME, world.clock, lambda _: None, every=0.01)
    assert status
    assert status.stage("respond-peer").sealed


@pytest.mark.fault(70)
async def test_a_run_whose_preflight_of_an_edit_is_under_way_is_not_failed_by_what_failed_earlier():
    world = await failed_beside(waiting=True)
    await world.rest()
    world.cluster.edit(NAMESPACE, NAME, retry="2")
    await world.look()
    assert told(world, "Failed") == ("False", "NotFailed", "no stage has failed")
