"""One stage has no room while another works: both are told, the one that waits in the scheduler's words, and only once as an event."""

from datetime import timedelta

import pytest

from rehearsal.api.status import State
from rehearsal.cluster.port import Manifest
from rehearsal.manifests.jobs import LABEL
from tests.faults.memory import STEP
from tests.faults.pairs import until
from tests.faults.world import World, created, outcome

NO_GPU = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
MINUTE = timedelta(minutes=1)


def no_room_for_peer(pod: Manifest) -> str:
    """What the scheduler says while there is room for all but one engine."""
    return NO_GPU if pod["metadata"]["labels"][f"{LABEL}/stage"] == "respond-peer" else ""


async def wait(world: World, time: timedelta) -> None:
    for _ in range(time // STEP):
        await world.tick()


def waits_told(world: World) -> list[str]:
    return [event["message"] for event in world.cluster.objects.list("Event") if event["reason"] == "Waiting"]


def said(world: World) -> tuple[str, str]:
    condition = world.status().condition("Reconciling")
    assert condition.status == "True"
    return condition.reason, condition.message


@pytest.mark.fault(24)
async def test_a_member_without_room_is_told_while_another_answers_and_answers_when_there_is_room(moments):
    world = World()
    world.store.slow |= {"respond-base", "respond-peer"}
    world.cluster.node.refuses = no_room_for_peer
    await world.submit()
    await until(world, State.RUNNING, "respond-base")
    await wait(world, MINUTE)
    for _ in range(3):
        assert said(world) == ("Running", f"respond-base; waiting: respond-peer ({NO_GPU})")
        assert world.status().summary == "respond-base; respond-peer: Waiting"
        assert waits_told(world) == [f"respond-peer: {NO_GPU}"]
        await wait(world, 5 * MINUTE)

    world.cluster.node.refuses = lambda _: ""
    await wait(world, MINUTE)
    assert said(world) == ("Running", "respond-base, respond-peer")
    assert world.status().summary == "respond-base, respond-peer"
    world.store.slow.clear()
    await world.finish()
    assert outcome(world).seals == outcome(moments[-1]).seals
    assert sorted(created(world)) == sorted(created(moments[-1]))
    assert waits_told(world) == [f"respond-peer: {NO_GPU}"]


@pytest.mark.fault(24)
async def test_a_member_that_still_has_no_room_when_the_other_is_done_is_all_the_run_waits_for(moments):
    world = World()
    world.cluster.node.refuses = no_room_for_peer
    await world.submit()
    await until(world, State.SUCCEEDED, "respond-base")
    await wait(world, MINUTE)
    assert said(world) == ("Waiting", f"respond-peer: {NO_GPU}")
    assert world.status().summary == "respond-peer: Waiting"
    assert waits_told(world) == [f"respond-peer: {NO_GPU}"]
    world.cluster.node.refuses = lambda _: ""
    await world.finish()
    assert outcome(world).seals == outcome(moments[-1]).seals
