"""Names that are taken, by the run itself, by a stranger, or by an attempt that failed."""

import pytest

from rehearsal.api.messages import ExitCode, Termination
from rehearsal.api.status import State
from tests.faults.connection import Connection
from tests.faults.node import Ended
from tests.faults.world import NAMESPACE, World, created, deleted, outcome


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
