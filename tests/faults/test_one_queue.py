"""Runs that share a stage while Kueue holds it back: one Job of it, however long the queue, and one that works in the end."""

from datetime import timedelta

import pytest

from rehearsal.api.status import State
from rehearsal.cluster.port import Manifest
from tests.faults.world import NAMESPACE, World, created, deleted

RUNS = ["first", "second", "third", "fourth"]
WAITS = "waits for run first, which computes this stage"


async def queued(queues: dict[str, str], **spec: object) -> World:
    """Runs that all come to elicit, each in its queue, and no queue admits anything any more."""
    world = World()
    for run, queue in queues.items():
        await world.submit(run, queueName=queue, **spec)
    while not all(world.status(run).stage("elicit") for run in queues):
        await world.tick(*queues)
    world.cluster.kueue.open = set()
    await world.tick(*queues)
    return world


async def wait(world: World, *runs: str, hours: float) -> None:
    """Let time pass, with a look at every run twice an hour and at the end."""
    for _ in range(int(hours * 2)):
        world.cluster.now += timedelta(minutes=30)
        await world.tick(*runs)
    for _ in range(4):
        await world.tick(*runs)


def elicits(world: World, name: str | None = None) -> list[Manifest]:
    return [job for job in world.jobs(name, "elicit") if job in world.live()]


@pytest.mark.fault(71)
async def test_a_stage_that_four_runs_share_is_one_job_however_long_the_queue():
    world = await queued(dict.fromkeys(RUNS, "gpu"))
    await wait(world, *RUNS, hours=9)
    assert [job["metadata"]["ownerReferences"][0]["name"] for job in elicits(world)] == ["first"]
    assert [world.message("elicit", run) for run in RUNS[1:]] == [WAITS] * 3
    assert world.message("elicit", "first") == "Kueue: LocalQueue gpu is not open"
    world.cluster.kueue.open = None
    await world.finish(*RUNS)
    assert all(world.is_true("Complete", run) for run in RUNS)
    assert set(world.store.work.values()) == {1}
    assert len([name for name in created(world) if "-elicit-" in name]) == 1


@pytest.mark.fault(71)
async def test_an_admitted_job_holds_its_place_while_its_pods_are_made():
    """The ten minutes in which a Job must get a pod begin when its queue lets it go, and not hours earlier."""
    world = await queued(dict.fromkeys(RUNS[:2], "gpu"))
    await wait(world, *RUNS[:2], hours=9)
    world.cluster.node.refuses = lambda _: "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    world.cluster.kueue.open = None
    for _ in range(100):
        await world.tick(*RUNS[:2])
    assert not world.jobs("second", "elicit")
    for _ in range(40):
        await world.tick(*RUNS[:2])
    assert world.jobs("second", "elicit")


@pytest.mark.fault(71)
@pytest.mark.parametrize("fate", ["deleted", "suspended"])
async def test_the_next_run_takes_the_place_of_one_that_leaves_the_queue(fate):
    world = await queued(dict.fromkeys(RUNS[:3], "gpu"))
    await wait(world, *RUNS[:3], hours=2)
    if fate == "deleted":
        await world.remove("ReconstructionRun", "first")
    else:
        world.cluster.edit(NAMESPACE, "first", suspend=True)
        await world.look("first")
    await wait(world, *RUNS[1:3], hours=2)
    assert len(elicits(world)) == 1
    assert world.status("second").stage("elicit").job == elicits(world)[0]["metadata"]["name"]
    assert world.message("elicit", "third") == "waits for run second, which computes this stage"


@pytest.mark.fault(71)
async def test_a_place_in_another_queue_is_waited_for_ten_minutes_only():
    world = await queued({"first": "slow", "second": "fast"})
    for _ in range(100):
        await world.tick("first", "second")
    assert not world.jobs("second", "elicit")
    await wait(world, "first", "second", hours=1)
    assert world.jobs("second", "elicit")


@pytest.mark.fault(71)
async def test_of_two_jobs_that_are_admitted_at_once_the_younger_is_given_up():
    world = await queued({"first": "slow", "second": "fast"})
    world.store.slow.add("elicit")
    await wait(world, "first", "second", hours=1)
    assert len(elicits(world)) == 2
    world.cluster.kueue.open = None
    for _ in range(3):
        world.cluster.step()
    for _ in range(12):
        await world.tick("first", "second")
    (kept,) = elicits(world)
    assert kept["metadata"]["ownerReferences"][0]["name"] == "first"
    assert world.status("second").stage("elicit").state is State.WAITING
    world.store.slow.clear()
    await world.finish("first", "second")
    assert set(world.store.work.values()) == {1}
    assert len(deleted(world)) == 1


@pytest.mark.fault(71)
async def test_of_two_jobs_that_were_both_seen_to_work_the_younger_is_given_up():
    world = await queued({"first": "slow", "second": "fast"})
    world.store.slow.add("elicit")
    await wait(world, "first", "second", hours=1)
    for run, queues in (("second", {"fast"}), ("first", None)):
        world.cluster.kueue.open = queues
        for _ in range(3):
            world.cluster.step()
        await world.look(run)
        assert world.status(run).stage("elicit").state is State.RUNNING
    await world.look("second")
    (kept,) = elicits(world)
    assert kept["metadata"]["ownerReferences"][0]["name"] == "first"


@pytest.mark.fault(71)
async def test_a_job_that_kueue_left_suspended_when_it_was_uninstalled_is_waited_for_ten_minutes_only():
    world = await queued(dict.fromkeys(RUNS[:2], "gpu"))
    world.cluster.kueue.gone = True
    for workload in world.cluster.objects.list("Workload"):
        world.cluster.objects.remove(workload)
    await wait(world, *RUNS[:2], hours=1)
    assert world.jobs("second", "elicit")
