"""Nodes that train together and are drained, or have no room: neither costs the run an attempt."""

from datetime import timedelta

import pytest

from rehearsal.api.messages import NODES_MISSING, ExitCode, Termination
from rehearsal.api.status import State
from rehearsal.cluster.job_status import condition_of, index_of
from rehearsal.cluster.port import Manifest
from rehearsal.manifests.jobs import LABEL
from tests.faults.node import Ended
from tests.faults.pairs import a_world, attempts, pods, until
from tests.faults.world import World

NO_GPU = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
MISSING = Ended(ExitCode.DEVICE, Termination(reason=NODES_MISSING, message="the ranks did not find each other"))


def no_second_node(pod: Manifest) -> str:
    """What the scheduler says while one node alone is free."""
    return NO_GPU if pod["metadata"]["labels"][f"{LABEL}/stage"] == "train" and index_of(pod) > 0 else ""


async def until_said(world: World, words: str) -> None:
    for _ in range(20):
        if world.message("train") == words:
            return
        await world.tick()
    raise AssertionError(world.lines())


async def give_up(world: World) -> None:
    """Have the node that got its pod wait for the other one in vain, until the next attempt begins."""
    world.store.endings = {"train": [MISSING]}
    world.store.slow.clear()
    before = len(attempts(world))
    while len(attempts(world)) == before:
        await world.tick()
        assert not world.is_true("Failed"), world.lines()
        assert not world.is_true("Stalled"), world.lines()
    world.store.slow.add("train")


@pytest.mark.fault(24)
async def test_a_run_with_room_for_one_of_its_two_nodes_waits_for_hours_in_the_schedulers_words_and_then_completes():
    world = await a_world(limit=0)
    world.store.slow.add("train")
    world.cluster.node.refuses = no_second_node
    for _ in range(3):
        await until_said(world, NO_GPU)
        assert world.status().condition("Reconciling").reason == "Waiting"
        world.cluster.now += timedelta(hours=1)
        await give_up(world)
    retries = world.status().stage("train").retries
    assert (retries.failed, retries.disrupted, retries.last) == (0, 0, "NodesMissing: the ranks did not find each other")
    world.cluster.node.refuses = lambda _: ""
    world.store.slow.clear()
    await world.finish()
    assert world.is_true("Complete")
    assert set(world.store.work.values()) == {1}


@pytest.mark.fault(58)
async def test_nodes_that_all_had_room_and_did_not_meet_failed_as_in_any_other_way():
    """The guard: nothing that waits will help them, and their devices are held all the while."""
    world = await (await a_world(MISSING, limit=0)).finish()
    assert world.is_true("Failed")
    assert world.message("train") == "NodesMissing: the ranks did not find each other"


def disrupt(world: World, **status: object) -> None:
    """Have one training pod that works drained."""
    pod = next(pod for pod in pods(world) if pod["status"]["phase"] == "Running")
    drained = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
    world.cluster.objects.replace(pod | {"status": pod["status"] | {"conditions": [drained]} | status})


@pytest.mark.fault(58)
async def test_drains_cost_no_attempt_and_many_of_them_without_progress_stall_the_run():
    world = await a_world(limit=1)
    world.store.slow.add("train")
    for times in range(1, 6):
        await until(world, State.RUNNING)
        disrupt(world, phase="Failed")
        await until(world, State.WAITING)
        assert world.status().stage("train").retries.disrupted == times
        assert world.message("train").startswith("attempt 1 of 2 is next; the last one ended: a pod was drained or preempted")
        assert world.is_true("Stalled") == (times == 5)
    world.store.slow.clear()
    await world.finish()
    assert world.is_true("Complete")
    assert world.status().stage("train").retries.failed == 0


@pytest.mark.fault(58)
async def test_a_drain_that_was_seen_is_remembered_when_the_pod_and_its_condition_are_gone():
    world = await until(await a_world(limit=0), State.RUNNING)
    world.store.slow.add("train")
    disrupt(world)
    await world.look()
    first, second = pods(world)
    ended = {"name": "main", "state": {"terminated": {"exitCode": 75, "message": "", "finishedAt": "2026-01-01T12:10:00Z"}}}
    survivor = next(pod for pod in (first, second) if not pod["status"].get("conditions"))
    leaving = next(pod for pod in (first, second) if pod["status"].get("conditions"))
    world.cluster.objects.replace(survivor | {"status": survivor["status"] | {"phase": "Failed", "containerStatuses": [ended]}})
    world.cluster.objects.remove(leaving)
    world.store.slow.clear()
    await world.finish()
    assert world.is_true("Complete")
    assert [condition_of(job["status"], "Failed", "Complete")["reason"] for job in attempts(world)] == [
        "BackoffLimitExceeded",
        "CompletionsReached",
    ]
