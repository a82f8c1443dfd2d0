"""A platform that is edited while a run is under way: what is at work goes on and says so, what is not takes the new values."""

import pytest

from rehearsal.api.status import State
from rehearsal.cluster.port import Manifest
from tests.faults.world import GPU, NAMESPACE, World, outcome
from tests.unit.worlds import a_platform

NO_ROOM = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
EDITED = {"device": {"resource": GPU}, "limits": {"concurrency": 7}, "images": {"inference": "inference:2"}}


async def at_work(stage: str) -> tuple[World, Manifest]:
    """A world in which the stage's pod works, and its Job."""
    world = World()
    await world.submit()
    for _ in range(50):
        await world.tick()
        entry = world.status().stage(stage)
        if entry and entry.state is State.RUNNING:
            (job,) = world.jobs(stage=stage)
            return world, job
    raise AssertionError(f"{stage} never works: {world.lines()}")


@pytest.mark.fault(83)
async def test_a_job_at_work_goes_on_and_its_status_names_the_values_that_it_lacks(moments):
    world, job = await at_work("elicit")
    world.platform = a_platform(**EDITED)
    await world.look()
    assert world.message("elicit") == (
        "goes on with older values of platform.limits, platform.images; to have the new ones now, "
        f"delete the Job {job['metadata']['name']}: what is committed stays"
    )
    await world.finish()
    (same,) = world.jobs(stage="elicit")
    assert same["metadata"]["uid"] == job["metadata"]["uid"]
    assert world.message("elicit") == ""
    assert outcome(world).seals == outcome(moments[-1]).seals


@pytest.mark.fault(83)
@pytest.mark.parametrize(
    "edit", [{"limits": {"concurrency": 7}}, {"images": {"inference": "inference:2"}}, {"deadlineSeconds": 3600}]
)
async def test_a_job_whose_pod_was_lost_and_whose_next_one_waits_takes_the_new_values(moments, edit):
    world, job = await at_work("elicit")
    world.cluster.node.refuses = lambda pod: NO_ROOM if "-elicit-" in pod["metadata"]["name"] else ""
    (pod,) = [pod for pod in world.cluster.objects.list("Pod", NAMESPACE) if "-elicit-" in pod["metadata"]["name"]]
    drained = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
    world.cluster.objects.replace(pod | {"status": pod["status"] | {"phase": "Failed", "conditions": [drained]}})
    for _ in range(3):
        await world.tick()
    (still,) = world.jobs(stage="elicit")
    assert still["metadata"]["uid"] == job["metadata"]["uid"], "a Job between two pods is not touched while nothing is edited"

    world.platform = a_platform(**{"device": {"resource": GPU}, **edit})
    for _ in range(3):
        await world.tick()
    (anew,) = world.jobs(stage="elicit")
    assert anew["metadata"]["uid"] != job["metadata"]["uid"]
    assert anew["metadata"]["name"] == job["metadata"]["name"], "the same stage, the same attempt"
    world.cluster.node.refuses = lambda _: ""
    await world.finish()
    assert outcome(world).seals == outcome(moments[-1]).seals
