"""Jobs that wait for a pod in vain are made anew once what holds them up is mended; those that only wait for room keep their place."""

import json

import pytest

from rehearsal.api.status import State
from rehearsal.cluster.port import Manifest
from tests.faults.world import GPU, NAME, NAMESPACE, World, outcome
from tests.unit.worlds import a_platform

NO_ROOM = "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."


@pytest.mark.fault(63)
async def test_a_job_that_no_queue_admits_is_replaced_when_the_queue_is_corrected_and_the_run_goes_on(moments):
    world = World()
    world.cluster.kueue.open = {"gpu-batch"}
    await world.submit(queueName="gpu-bacth")
    for _ in range(10):
        await world.tick()
    assert world.stages_of_jobs() == ["preflight"]
    assert not world.cluster.objects.list("Pod")
    world.cluster.edit(NAMESPACE, NAME, queueName="gpu-batch")
    await world.finish()
    assert outcome(world).seals == outcome(moments[-1]).seals
    assert not world.live()


@pytest.mark.fault(63)
async def test_a_job_that_fits_no_node_is_replaced_when_the_selector_is_corrected_and_the_run_goes_on(moments):
    world = World()
    world.cluster.node.refuses = lambda pod: (
        "" if pod["spec"]["nodeSelector"] == {"pool": "gpu"} or "-preflight-" in pod["metadata"]["name"] else NO_ROOM
    )
    await world.submit(scheduling={"nodeSelector": {"pool": "gup"}})
    for _ in range(10):
        await world.tick()
    (stuck,) = world.jobs(stage="elicit")
    assert world.message("elicit") == NO_ROOM
    world.cluster.edit(NAMESPACE, NAME, scheduling={"nodeSelector": {"pool": "gpu"}})
    await world.finish()
    (new,) = world.jobs(stage="elicit")
    assert new["metadata"]["uid"] != stuck["metadata"]["uid"]
    assert outcome(world).seals == outcome(moments[-1]).seals


@pytest.mark.fault(63)
@pytest.mark.parametrize("stage", ["preflight", "elicit"])
async def test_a_job_whose_image_cannot_be_pulled_is_replaced_when_the_platform_is_mended_and_the_run_goes_on(moments, stage):
    world = World(a_platform(device={"resource": GPU}, images={"trainer": "trainer:none", "inference": "inference:none"}))
    world.cluster.node.lacks = lambda pod: (
        "no such image" if f"-{stage}-" in pod["metadata"]["name"] and ":none" in str(pod) else ""
    )
    stuck = await waiting(world, stage)
    assert world.message(stage) == "ImagePullBackOff: no such image"
    world.platform = a_platform(device={"resource": GPU})
    await world.finish()
    (new,) = world.jobs(stage=stage)
    assert new["metadata"]["uid"] != stuck["metadata"]["uid"]
    assert outcome(world).seals == outcome(moments[-1]).seals


@pytest.mark.fault(63)
async def test_a_job_that_fits_no_node_is_replaced_when_the_platform_makes_its_pods_smaller(moments):
    world = World()
    world.cluster.node.refuses = lambda pod: NO_ROOM if '"8"' in resources(pod) and "-elicit-" in pod["metadata"]["name"] else ""
    stuck = await waiting(world, "elicit")
    world.platform = a_platform(device={"resource": GPU}, enginePod={"cpu": "4", "memory": "16Gi"})
    await world.finish()
    (new,) = world.jobs(stage="elicit")
    assert new["metadata"]["uid"] != stuck["metadata"]["uid"]
    assert outcome(world).seals == outcome(moments[-1]).seals


@pytest.mark.fault(23)
@pytest.mark.parametrize(
    "others",
    [
        {"images": {"operator": "operator:2", "inference": "inference:2", "trainer": "trainer:2"}},
        {"trainPod": {"cpu": "4", "memory": "16Gi"}, "trainScratch": "2Gi", "cpuStage": {"cpu": "2"}},
        {"hub": {"secret": "another"}},
        {"deadlineSeconds": 3600, "backoffLimit": 2},
    ],
    ids=["images", "other pods", "hub", "limits"],
)
async def test_a_job_that_waits_for_room_keeps_its_place_whatever_of_the_platform_is_not_its_pods(moments, others):
    """An upgrade of the release is such an edit: a Job made anew would go to the end of its queue."""
    world = World()
    world.cluster.node.refuses = lambda pod: NO_ROOM if "-elicit-" in pod["metadata"]["name"] else ""
    stuck = await waiting(world, "elicit")
    world.platform = a_platform(**{"device": {"resource": GPU}} | others)
    for _ in range(5):
        await world.tick()
    world.cluster.node.refuses = lambda _: ""
    await world.finish()
    (kept,) = world.jobs(stage="elicit")
    assert kept["metadata"]["uid"] == stuck["metadata"]["uid"]
    assert outcome(world).seals == outcome(moments[-1]).seals


async def waiting(world: World, stage: str) -> Manifest:
    """Submit a run and go on until the stage's Job waits; returns the Job."""
    await world.submit()
    for _ in range(10):
        await world.tick()
    (stuck,) = world.jobs(stage=stage)
    assert world.status().stage(stage).state is State.WAITING
    return stuck


def resources(pod: Manifest) -> str:
    return json.dumps([container["resources"] for container in pod["spec"]["initContainers"]])
