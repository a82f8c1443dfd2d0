"""Nodes that train together: an attempt fails as a whole, and the next one begins when all its pods are gone."""

from datetime import timedelta

import pytest

from rehearsal.api.messages import RANK_LOST, ExitCode, Termination
from rehearsal.api.status import State
from rehearsal.cluster.job_status import condition_of
from rehearsal.cluster.port import Manifest, Manifests
from rehearsal.manifests.jobs import LABEL
from tests.faults.connection import Connection
from tests.faults.memory import STEP
from tests.faults.node import Ended
from tests.faults.world import NAME, NAMESPACE, World, created, deleted, outcome
from tests.unit.worlds import a_platform

LOST = Ended(ExitCode.DEVICE, Termination(reason=RANK_LOST, message="rank 1 lost the other ranks"))


async def a_world(*endings: Ended, limit: int = 6) -> World:
    """A short run on two nodes, before its first look. `endings`: of training pods, one an attempt."""
    world = World(a_platform(device={"resource": "nvidia.com/gpu"}, backoffLimit=limit))
    world.store.endings = {"train": list(endings)} if endings else {}
    await world.submit(rehearsal={}, training={"nodes": 2})
    return world


async def until(world: World, state: State, stage: str = "train") -> World:
    for _ in range(100):
        if (entry := world.status().stage(stage)) and entry.state is state:
            return world
        await world.tick()
    raise AssertionError(world.lines())


def attempts(world: World) -> Manifests:
    """The Jobs of training, by attempt."""
    return sorted(world.jobs(stage="train"), key=lambda job: int(job["metadata"]["annotations"][f"{LABEL}/attempt"]))


def pods(world: World) -> Manifests:
    return world.cluster.objects.list("Pod", NAMESPACE, {f"{LABEL}/stage": "train"})


def disrupt(world: World, **status: object) -> None:
    """Have one training pod that works drained."""
    pod = next(pod for pod in pods(world) if pod["status"]["phase"] == "Running")
    drained = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
    world.cluster.objects.replace(pod | {"status": pod["status"] | {"conditions": [drained]} | status})


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
    world.cluster.node.lost = True
    await world.remove("Job", job["metadata"]["name"])
    for _ in range(60):
        await world.tick()
    assert not attempts(world)
    assert world.message("train") == "waits until all pods of before are gone"
    world.cluster.node.lost = False
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
    assert [timedelta(0) <= gap - timedelta(seconds=due) <= STEP for gap, due in zip(gaps, (10, 20, 40, 80), strict=True)] == [
        True
    ] * 4


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


@pytest.mark.fault(18)
async def test_suspended_at_any_moment_and_resumed_it_goes_on_where_it_was(together):
    for moment in together[1:]:
        world = moment.fork()
        world.cluster.edit(NAMESPACE, NAME, suspend=True)
        await world.finish()
        assert not world.live()
        world.cluster.edit(NAMESPACE, NAME, suspend=False)
        await world.look()
        await world.finish()
        assert outcome(world).seals == outcome(together[-1]).seals
        assert set(world.store.work.values()) == {1}


@pytest.mark.fault(16)
async def test_deleted_at_any_moment_the_run_takes_jobs_pods_and_service_with_it(together):
    for moment in together:
        world = moment.fork()
        await world.remove("ReconstructionRun", NAME)
        for _ in range(3):
            await world.look()
            world.cluster.step()
        assert not [key for key in world.cluster.objects.items if key[0] in ("Job", "Pod", "Service")]


@pytest.mark.fault(18)
async def test_other_nodes_for_the_same_ranks_are_the_same_stage_and_the_next_attempt_has_them(together):
    """The guard: the fingerprint holds the number of ranks, the Job's digest of knobs how they lie."""
    world = together[-1].fork()
    world.cluster.edit(NAMESPACE, NAME, training={"nodes": 1, "processesPerNode": 16})
    await world.finish()
    assert world.is_true("Complete")
    assert not set(created(world)[len(created(together[-1])) :]) & {job["metadata"]["name"] for job in world.jobs(stage="train")}
    assert outcome(world).seals == outcome(together[-1]).seals

    stuck = await until(await a_world(*[LOST] * 3), State.WAITING)
    stuck.cluster.edit(NAMESPACE, NAME, training={"nodes": 1, "processesPerNode": 16})
    await stuck.look()
    await stuck.finish()
    assert attempts(stuck)[-1]["spec"]["completions"] == 1


@pytest.mark.fault(64)
async def test_two_runs_that_share_a_training_do_not_both_begin_it_anew():
    """The guard: between its attempts a run waits for the other's Job, and takes its result as it would have before its first."""
    world = await a_world(LOST)
    await world.submit("other", rehearsal={}, training={"nodes": 2})
    await world.finish(NAME, "other")
    assert world.is_true("Complete")
    assert world.is_true("Complete", "other")
    assert sorted(stage.state for stage in (world.status().stage("train"), world.status("other").stage("train"))) == [
        State.REUSED,
        State.SUCCEEDED,
    ]
    assert len(world.jobs(stage="train")) == 2
    assert set(world.store.work.values()) == {1}


@pytest.mark.fault(6)
async def test_a_strangers_service_in_the_way_is_told_and_no_job_begins_without_it():
    calm = await until(await a_world(), State.RUNNING)
    (service,) = calm.cluster.objects.list("Service", NAMESPACE)
    world = await a_world()
    await world.look()
    theirs = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": service["metadata"]["name"], "namespace": NAMESPACE}}
    await world.cluster.create(theirs | {"spec": {"selector": {"app": "theirs"}}})
    for _ in range(10):
        await world.tick()
    name = service["metadata"]["name"]
    assert world.status().condition("Stalled").message == (
        f"a Service {name} that is not this run's stands in the way of train: remove it"
    )
    assert not attempts(world)
    assert world.cluster.objects.get("Service", NAMESPACE, name)["spec"] == {"selector": {"app": "theirs"}}
    quiet = Connection(world.cluster)
    await world.look(through=quiet)
    assert quiet.writes == 0
    await world.remove("Service", name)
    await world.finish()
    assert world.is_true("Complete")
