"""Nodes that die, pods that are done and do not end, pods that get nothing done: told within minutes, and nobody else waits for them."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from rehearsal.api.status import State
from rehearsal.cluster.port import Manifest
from rehearsal.manifests.jobs import LABEL
from tests.faults.memory import STEP
from tests.faults.pairs import a_world as a_world_of_two_nodes
from tests.faults.pairs import until
from tests.faults.world import GPU, NAME, NAMESPACE, World, created, outcome
from tests.unit.worlds import a_platform

OTHER = "other"
TAINTED = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}


async def pass_by(world: World, minutes: float, *names: str) -> None:
    """Let minutes go by, with a look in each."""
    for _ in range(int(minutes)):
        world.cluster.now += timedelta(minutes=1) - STEP
        await world.tick(*names)


async def until_running(stage: str) -> World:
    world = World()
    world.store.slow.add(stage)
    await world.submit()
    await until(world, State.RUNNING, stage)
    return world


def stalled(world: World, name: str = NAME) -> tuple[str, str]:
    found = world.status(name).condition("Stalled")
    assert found
    return (found.reason, found.message) if found.status == "True" else ("", "")


def pods_of(world: World, stage: str, run: str = NAME) -> list[Manifest]:
    return world.cluster.objects.list("Pod", NAMESPACE, {f"{LABEL}/stage": stage, f"{LABEL}/run": run})


def evict(world: World, stage: str) -> Manifest:
    """The node of a stage's pod dies: the node controller asks the pod to end, and the kubelet never answers."""
    (pod,) = pods_of(world, stage)
    world.cluster.node.silent = is_pod(pod)
    told = pod | {"status": pod["status"] | {"conditions": [TAINTED]}}
    world.cluster.objects.mark(world.cluster.objects.replace(told))
    return pod


def is_pod(pod: Manifest) -> Callable[[Manifest], bool]:
    uid = pod["metadata"]["uid"]
    return lambda other: other["metadata"]["uid"] == uid


@pytest.mark.fault(68)
@pytest.mark.parametrize("stage", ["preflight", "elicit", "mix", "train"])
async def test_a_pod_that_its_dead_node_keeps_is_told_within_minutes_with_node_and_remedy_and_forced_away_the_run_goes_on(
    moments, stage
):
    world = await until_running(stage) if stage != "preflight" else World()
    if stage == "preflight":
        await world.submit()
        await world.tick()
    pod = evict(world, stage)
    name, asked = pod["metadata"]["name"], pods_of(world, stage)[0]["metadata"]["deletionTimestamp"]
    await pass_by(world, 4)
    assert stalled(world) == ("", "")
    await pass_by(world, 3)
    reason, message = stalled(world)
    assert reason == "PodStuck"
    assert message.startswith(f"{stage}: pod {name} on node node-1 should have ended at {asked} and has not")
    for remedy in (
        "delete it",
        "kubectl taint node node-1 node.kubernetes.io/out-of-service",
        f"kubectl delete pod {name} --force",
    ):
        assert remedy in message
    assert "PodStuck" in {event["reason"] for event in world.cluster.objects.list("Event")}
    written = len(world.cluster.written)
    await pass_by(world, 5)
    assert [write for write in world.cluster.written[written:] if write[0] != "patch_status"] == []

    world.cluster.objects.remove(pods_of(world, stage)[0])
    world.cluster.node.silent = lambda _: False
    world.store.slow.clear()
    await world.finish()
    assert outcome(world).seals == outcome(moments[-1]).seals


@pytest.mark.fault(68)
async def test_a_run_that_waits_for_a_job_on_a_dead_node_goes_on_by_itself_within_minutes(moments):
    world = await until_running("elicit")
    await world.submit(OTHER)
    while not world.message("elicit", OTHER):
        await world.tick(NAME, OTHER)
    evict(world, "elicit")
    world.store.slow.clear()
    await pass_by(world, 4, NAME, OTHER)
    assert not world.jobs(OTHER, "elicit")
    await pass_by(world, 4, NAME, OTHER)
    assert world.jobs(OTHER, "elicit")
    await world.finish(OTHER)
    assert world.is_true("Complete", OTHER)
    assert outcome(world, OTHER).seals == outcome(moments[-1]).seals
    assert set(world.store.work.values()) == {1}


@pytest.mark.fault(68)
async def test_nodes_that_train_together_and_wait_for_a_pod_of_before_on_a_dead_node_say_so():
    world = await until(await a_world_of_two_nodes(), State.RUNNING)
    pods = pods_of(world, "train")
    world.cluster.node.silent = is_pod(pods[1])
    await world.remove("Job", world.jobs(stage="train")[0]["metadata"]["name"])
    await pass_by(world, 8)
    reason, message = stalled(world)
    assert reason == "PodStuck"
    assert f"pod {pods[1]['metadata']['name']} on node node-1 should have ended" in message
    world.cluster.node.silent = lambda _: False
    await world.finish()
    assert world.is_true("Complete")


@pytest.mark.fault(75)
async def test_a_pod_whose_work_is_done_and_which_a_foreign_sidecar_keeps_is_told_with_the_containers_name(moments):
    world = World()
    world.cluster.node.injects = lambda pod: "istio-proxy" if "-elicit-" in pod["metadata"]["name"] else ""
    await world.submit()
    await until(world, State.RUNNING, "elicit")
    await pass_by(world, 1)
    assert stalled(world) == ("", "")
    await pass_by(world, 4)
    (pod,) = pods_of(world, "elicit")
    reason, message = stalled(world)
    assert reason == "PodStuck"
    assert message.startswith(f"elicit: the work in pod {pod['metadata']['name']} on node node-1 ended at ")
    assert "container istio-proxy keeps the pod" in message
    assert "istio-proxy" in world.message("elicit")

    world.cluster.node.injects = lambda _: ""
    world.cluster.objects.replace(pod | {"status": pod["status"] | {"phase": "Succeeded"}})
    await world.finish()
    assert outcome(world).seals == outcome(moments[-1]).seals
    assert sorted(created(world)) == sorted(created(moments[-1]))


@pytest.mark.fault(75)
async def test_a_pod_whose_every_container_has_ended_and_which_does_not_end_is_its_nodes_fault():
    world = await until_running("elicit")
    (pod,) = pods_of(world, "elicit")
    ended = {"terminated": {"exitCode": 0, "finishedAt": pod["status"]["startTime"]}}
    world.cluster.objects.replace(pod | {"status": pod["status"] | {"containerStatuses": [{"name": "main", "state": ended}]}})
    await pass_by(world, 4)
    reason, message = stalled(world)
    assert reason == "PodStuck"
    assert "and the pod has not: if the node does not answer, delete it" in message


@pytest.mark.fault(68)
async def test_a_stage_that_gets_nothing_done_for_an_hour_is_told_with_its_pod_and_the_run_that_shares_it_goes_on():
    world = await until_running("elicit")
    await world.submit(OTHER)
    while not world.message("elicit", OTHER):
        await world.tick(NAME, OTHER)
    await pass_by(world, 55, NAME, OTHER)
    world.platform = a_platform(device={"resource": GPU}, engine={"env": {"A": "edited meanwhile"}})
    assert stalled(world) == ("", "")
    assert not world.jobs(OTHER, "elicit")
    await pass_by(world, 8, NAME, OTHER)
    (pod,) = pods_of(world, "elicit")
    reason, message = stalled(world)
    assert reason == "NoProgress"
    assert message == f"elicit: {world.message('elicit')}"
    assert message.startswith("elicit: 0 of 2 shards are done since 2026-01-01T12:0")
    assert f"pod {pod['metadata']['name']} on node node-1" in message
    assert world.jobs(OTHER, "elicit")
    world.store.slow.clear()
    await until(world, State.SUCCEEDED, "elicit")
    assert stalled(world) == ("", "")


@pytest.mark.fault(68)
async def test_a_stage_whose_log_cannot_be_read_and_gets_nothing_done_is_told_too():
    """A node that is gone, and whose pods tolerate it for ever: their last word was long ago."""
    world = await until_running("elicit")
    await pass_by(world, 1)
    world.cluster._log = None
    await pass_by(world, 62)
    assert stalled(world)[0] == "NoProgress"


@pytest.mark.fault(68)
async def test_a_stage_that_tells_no_figures_is_not_judged_by_them():
    world = World()
    world.cluster._log = None
    world.store.slow.add("elicit")
    await world.submit()
    await until(world, State.RUNNING, "elicit")
    await pass_by(world, 200)
    assert stalled(world) == ("", "")


async def test_a_pod_that_lacks_its_image_is_stalled_after_some_minutes_and_goes_on_when_it_is_there(moments):
    world = World()
    world.cluster.node.lacks = lambda pod: "no such image" if "-elicit-" in pod["metadata"]["name"] else ""
    await world.submit()
    await until(world, State.WAITING, "elicit")
    await pass_by(world, 8)
    assert stalled(world) == ("", "")
    await pass_by(world, 4)
    reason, message = stalled(world)
    assert reason == "PodCannotStart"
    assert "ImagePullBackOff: no such image" in message
    world.cluster.node.lacks = lambda _: ""
    await world.finish()
    assert outcome(world).seals == outcome(moments[-1]).seals


@pytest.mark.fault(68)
async def test_a_run_whose_pod_is_stuck_with_work_committed_takes_the_seal_that_another_run_has_made_meanwhile():
    world = World()
    for name in (NAME, OTHER):
        await world.submit(name)
    await until(world, State.RUNNING, "elicit")
    evict(world, "elicit")
    world.store.work["elicit", world.status().stage("elicit").fingerprint, 0] = 1  # committed before the node died
    await pass_by(world, 7, NAME, OTHER)
    assert (stalled(world)[0], world.status().stage("elicit").done > 0) == ("PodStuck", True)
    await pass_by(world, 10, NAME, OTHER)
    assert world.status(OTHER).stage("elicit").sealed
    assert (world.status().stage("elicit").state, stalled(world)) == (State.REUSED, ("", ""))
    await world.finish(NAME, OTHER)
    assert world.is_true("Complete")
    assert set(world.store.work.values()) == {1}
