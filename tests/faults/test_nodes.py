"""Nodes that train together: an attempt fails as a whole, and the next one begins when all its pods are gone."""

from datetime import timedelta

import pytest

from rehearsal.api.messages import ExitCode, Termination
from rehearsal.api.status import State
from rehearsal.cluster.job_status import condition_of
from rehearsal.cluster.port import Manifest
from tests.faults.memory import STEP
from tests.faults.node import Ended
from tests.faults.pairs import LOST, a_world, attempts, pods, until
from tests.faults.world import NAME, NAMESPACE, created, deleted
from tests.unit.worlds import a_platform


def started(job: Manifest) -> str:
    return str(job["metadata"]["creationTimestamp"])


@pytest.mark.fault(58)
async def test_two_nodes_are_one_job_of_two_pods_that_find_each_other_by_a_service_of_the_run():
    world = await until(await a_world(), State.RUNNING)
    (job,) = attempts(world)
    (service,) = world.cluster.objects.list("Service", NAMESPACE)
    assert len(pods(world)) == 2
    assert all(service["spec"]["selector"].items() <= pod["metadata"]["labels"].items() for pod in pods(world))
    assert pods(world)[0]["spec"]["subdomain"] == service["metadata"]["name"]
    assert created(world)[-1] == job["metadata"]["name"]
    await world.finish()
    assert world.is_true("Complete")
    await world.remove("ReconstructionRun", NAME)
    world.cluster.step()
    assert not world.cluster.objects.list("Service", NAMESPACE)


@pytest.mark.fault(58)
async def test_the_next_attempt_begins_when_all_pods_of_the_last_are_gone_and_no_sooner():
    world = await until(await a_world(Ended(ExitCode.KILLED)), State.RUNNING)
    while len(attempts(world)) < 2:
        working = [pod for pod in pods(world) if pod["status"]["phase"] in ("Pending", "Running")]
        before = len(attempts(world))
        await world.look()
        assert len(attempts(world)) == before or not working
        world.cluster.step()
    await world.finish()
    assert world.is_true("Complete")
    assert set(world.store.work.values()) == {1}
    assert not deleted(world)


@pytest.mark.fault(58)
async def test_a_pod_that_nobody_hears_of_holds_the_next_attempt_back_and_the_run_says_so():
    """The guard: pods are asked for by the run's label, not by their Job, and a pod on its way out is one."""
    world = await until(await a_world(), State.RUNNING)
    (job,) = attempts(world)
    world.cluster.node.silent = lambda _: True
    await world.remove("Job", job["metadata"]["name"])
    for _ in range(60):
        await world.tick()
    assert not attempts(world)
    assert world.message("train") == "waits until all pods of before are gone"
    world.cluster.node.silent = lambda _: False
    await world.finish()
    assert world.is_true("Complete")


@pytest.mark.fault(58)
async def test_while_it_waits_it_says_which_attempt_is_next_and_why():
    world = await until(await a_world(Ended(ExitCode.KILLED), LOST), State.WAITING)
    said = set()
    while not world.is_true("Complete"):
        said.add(world.message("train"))
        await world.tick()
    assert "attempt 2 of 7 is next; the last one ended: exit code 137: killed; if it ran out of memory, give the pod more" in said
    assert "attempt 3 of 7 is next; the last one ended: RankLost: rank 1 lost the other ranks" in said
    told = [event["message"] for event in world.cluster.objects.list("Event", NAMESPACE) if event["reason"] == "AttemptFailed"]
    assert len(told) == 2
    retries = world.status().stage("train").retries
    assert (retries.failed, retries.disrupted) == (2, 0)


@pytest.mark.fault(58)
async def test_the_pause_between_attempts_doubles_as_it_does_between_a_jobs_pods():
    world = await (await a_world(*[LOST] * 4)).finish()
    ends = [condition_of(job["status"], "Failed", "Complete")["lastTransitionTime"] for job in attempts(world)]
    begins = [started(job) for job in attempts(world)]
    gaps = [at(begin) - at(end) for end, begin in zip(ends[:-1], begins[1:], strict=True)]
    due = [timedelta(seconds=seconds) for seconds in (10, 20, 40, 80)]
    assert all(least <= gap <= 1.5 * least + STEP for gap, least in zip(gaps, due, strict=True)), gaps


def at(stamp: str) -> timedelta:
    hours, minutes, seconds = map(int, stamp[11:19].split(":"))
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)


@pytest.mark.fault(58)
async def test_more_failures_than_the_platform_allows_fail_the_run_with_the_last_ones_words():
    world = await (await a_world(*[LOST] * 3, limit=2)).finish()
    assert world.is_true("Failed")
    assert len(attempts(world)) == 3
    assert world.status().condition("Failed").message == "train: RankLost: rank 1 lost the other ranks"
    world.cluster.edit(NAMESPACE, NAME, retry="2")
    await world.look()
    await world.finish()
    assert world.is_true("Complete")
    assert len(attempts(world)) == 4


@pytest.mark.fault(58)
async def test_a_refusal_of_the_worker_fails_the_run_at_once():
    refused = Ended(ExitCode.REFUSED, Termination(reason="Refused", message="no such model"))
    world = await (await a_world(refused)).finish()
    assert world.is_true("Failed")
    assert len(attempts(world)) == 1
    assert world.message("train") == "Refused: no such model"


@pytest.mark.fault(58)
async def test_an_attempt_that_runs_past_its_deadline_is_not_tried_again():
    world = await a_world()
    world.platform = a_platform(deadlineSeconds=60)
    world.store.slow.add("train")
    await world.finish()
    assert world.is_true("Failed")
    assert "deadline" in world.message("train")
    assert len(attempts(world)) == 1


@pytest.mark.fault(58)
async def test_the_hours_of_every_attempt_are_counted_once():
    world = await (await a_world(LOST, LOST)).finish()
    held = sum(world_seconds(job) for job in attempts(world)) * 16
    assert world.status().usage.gpu_seconds == held
    for job in attempts(world):
        await world.remove("Job", job["metadata"]["name"])
    await world.tick()
    assert world.status().usage.gpu_seconds == held


def world_seconds(job: Manifest) -> float:
    """From its first pod's start, a step after the Job's creation, to its end."""
    finished = condition_of(job["status"], "Failed", "Complete")["lastTransitionTime"]
    return (at(finished) - at(job["status"]["startTime"])).total_seconds()
