"""Names that are taken, by the run itself, by a stranger, or by an attempt that failed."""

import pytest

from rehearsal.api.messages import ExitCode, Termination
from rehearsal.api.status import State
from tests.faults.connection import Connection
from tests.faults.node import Ended
from tests.faults.world import GPU, NAMESPACE, World, created, deleted, outcome
from tests.unit.worlds import a_platform


def before_the_first(moments: list[World], stage: str) -> tuple[World, str]:
    """The moment at which a stage's Job is about to be created, and that Job's name."""
    i = next(i for i, moment in enumerate(moments) if moment.jobs(stage=stage))
    return moments[i - 1].fork(), moments[i].jobs(stage=stage)[0]["metadata"]["name"]


async def a_stranger(world: World, name: str) -> dict[str, object]:
    metadata = {"name": name, "namespace": NAMESPACE, "labels": {"app": "somebody-elses"}}
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "theirs"}]}}
    spec = {"suspend": True, "template": template}
    return await world.cluster.create({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec})


@pytest.mark.fault(5)
async def test_a_job_of_our_own_that_is_there_already_is_as_good_as_created(moments):
    world, name = before_the_first(moments, "elicit")
    blind = Connection(world.cluster)
    blind.past, blind.past_kinds = world.cluster.snapshot(), frozenset({"Job", "Pod"})
    await world.look()
    again = world.status()
    await world.look(through=blind)
    entry = world.status().stage("elicit")
    assert entry
    assert (entry.state, entry.job, entry.message) == (State.WAITING, name, "")
    assert world.status().stages == again.stages
    assert created(world).count(name) == 1


@pytest.mark.fault(6)
async def test_a_strangers_job_in_the_way_is_told_and_neither_touched_nor_adopted(moments):
    world, name = before_the_first(moments, "elicit")
    theirs = await a_stranger(world, name)
    await world.look()
    assert "NameTaken" in {condition.reason for condition in world.status().conditions}
    assert name in world.message("elicit")
    for _ in range(5):
        await world.tick()
    assert world.cluster.objects.get("Job", NAMESPACE, name)["spec"] == theirs["spec"]
    assert world.cluster.objects.get("Job", NAMESPACE, name)["metadata"]["uid"] == theirs["metadata"]["uid"]
    assert not deleted(world)
    assert not world.is_true("Failed")


@pytest.mark.fault(6)
async def test_a_run_in_whose_way_a_strangers_job_stands_writes_nothing_new_and_goes_on_when_it_is_gone(moments):
    world, name = before_the_first(moments, "elicit")
    await a_stranger(world, name)
    await world.tick()
    await world.tick()
    again = Connection(world.cluster)
    await world.look(through=again)
    assert again.writes == 0
    await world.remove("Job", name)
    await world.finish()
    assert outcome(world).seals == outcome(moments[-1]).seals
    assert outcome(world).true == outcome(moments[-1]).true


@pytest.mark.fault(63)
async def test_the_attempt_after_a_failed_one_has_a_name_of_its_own_though_the_failed_job_is_still_there(moments):
    world, name = before_the_first(moments, "elicit")
    refused = Ended(ExitCode.REFUSED, Termination(reason="Refused", message="no such model"))
    world.store.endings["elicit"] = [refused]
    await world.finish()
    assert world.is_true("Failed")
    world.cluster.edit(NAMESPACE, "medical", retry="2")
    await world.finish()
    assert world.cluster.objects.get("Job", NAMESPACE, name)
    assert len([job for job in created(world) if "-elicit-" in job]) == 2
    assert outcome(world).seals == outcome(moments[-1]).seals
    assert outcome(world).true == outcome(moments[-1]).true


@pytest.mark.fault(63)
async def test_a_job_that_no_queue_admits_is_replaced_when_the_queue_is_corrected_and_the_run_goes_on(moments):
    world = World()
    world.cluster.kueue.open = {"gpu-batch"}
    await world.submit(queueName="gpu-bacth")
    for _ in range(10):
        await world.tick()
    assert world.stages_of_jobs() == ["preflight"]
    assert not world.cluster.objects.list("Pod")
    world.cluster.edit(NAMESPACE, "medical", queueName="gpu-batch")
    await world.finish()
    assert outcome(world).seals == outcome(moments[-1]).seals
    assert not world.live()


@pytest.mark.fault(63)
async def test_a_job_that_fits_no_node_is_replaced_when_the_selector_is_corrected_and_the_run_goes_on(moments):
    words = "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."
    world = World()
    world.cluster.node.refuses = lambda pod: (
        "" if pod["spec"]["nodeSelector"] == {"pool": "gpu"} or "-preflight-" in pod["metadata"]["name"] else words
    )
    await world.submit(scheduling={"nodeSelector": {"pool": "gup"}})
    for _ in range(10):
        await world.tick()
    (stuck,) = world.jobs(stage="elicit")
    assert world.message("elicit") == words
    world.cluster.edit(NAMESPACE, "medical", scheduling={"nodeSelector": {"pool": "gpu"}})
    await world.finish()
    (new,) = world.jobs(stage="elicit")
    assert new["metadata"]["uid"] != stuck["metadata"]["uid"]
    assert outcome(world).seals == outcome(moments[-1]).seals


@pytest.mark.fault(63)
@pytest.mark.parametrize("stage", ["preflight", "elicit"])
async def test_a_job_whose_image_cannot_be_pulled_is_replaced_when_the_platform_is_mended_and_the_run_goes_on(moments, stage):
    world = World(a_platform(device={"resource": GPU}, images={"operator": "operator:none", "inference": "inference:none"}))
    right = a_platform(device={"resource": GPU})
    world.cluster.node.refuses = lambda pod: (
        "ErrImagePull" if f"-{stage}-" in pod["metadata"]["name"] and ":none" in str(pod) else ""
    )
    await world.submit()
    for _ in range(10):
        await world.tick()
    (stuck,) = world.jobs(stage=stage)
    world.platform = right
    await world.finish()
    (new,) = world.jobs(stage=stage)
    assert new["metadata"]["uid"] != stuck["metadata"]["uid"]
    assert outcome(world).seals == outcome(moments[-1]).seals
