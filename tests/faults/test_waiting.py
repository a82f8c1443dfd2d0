"""Jobs that do not move, for want of room, quota, a signal or a word, and clocks that are wrong: a run says so and starts nothing twice."""

from datetime import timedelta

import pytest

from rehearsal.api.messages import ExitCode
from rehearsal.api.status import State
from tests.faults.memory import STEP
from tests.faults.node import Ended
from tests.faults.world import NAME, NAMESPACE, World, created, deleted, outcome
from tests.unit.worlds import a_platform

NO_GPU = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
NO_QUOTA = 'pods "medical-elicit" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=8'
NO_ACCOUNT = 'error looking up service account research/rehearsal-worker: serviceaccount "rehearsal-worker" not found'
INSECURE = 'violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false'
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def when_running(moments: list[World], stage: str) -> World:
    """A moment at which a stage's pod runs and its work is not done."""
    found = (m for m in moments if (entry := m.status().stage(stage)) and entry.state is State.RUNNING and not entry.sealed)
    return next(found).fork()


def before_the_first(moments: list[World], stage: str) -> World:
    """The moment at which a stage's Job is about to be created."""
    i = next(i for i, moment in enumerate(moments) if moment.jobs(stage=stage))
    return moments[i - 1].fork()


async def wait(world: World, time: timedelta) -> None:
    for _ in range(time // STEP):
        await world.tick()


@pytest.mark.fault(21)
async def test_a_stage_that_never_ends_is_ended_by_its_deadline_and_the_run_says_which():
    world = World(a_platform(deadlineSeconds=60))
    world.store.slow.add("elicit")
    await world.submit()
    await wait(world, 3 * MINUTE)
    assert world.is_true("Failed")
    assert world.is_true("Stalled")
    assert world.status().condition("Stalled").message.startswith("elicit: ")
    assert "deadline" in world.message("elicit")


@pytest.mark.fault(21)
async def test_a_job_whose_deadline_goes_by_without_a_node_is_told_ahead_and_fails_in_these_words(moments):
    world = World(a_platform(deadlineSeconds=600))
    world.cluster.node.refuses = lambda pod: NO_GPU if "-elicit-" in pod["metadata"]["name"] else ""
    await world.submit()
    await wait(world, 4 * MINUTE)
    assert not world.is_true("Stalled")
    await wait(world, 2 * MINUTE)
    near = world.status().condition("Stalled")
    assert (near.status, near.reason) == ("True", "DeadlineNear")
    assert near.message.startswith("elicit: no node has taken a pod since ")
    assert near.message.endswith(f"(deadlineSeconds of the platform). {NO_GPU}")
    await wait(world, 6 * MINUTE)
    assert world.is_true("Failed")
    assert "no pod of it was seen on a node in that time" in world.message("elicit")
    assert "600 s (deadlineSeconds of the platform)" in world.message("elicit")
    assert world.status().usage.gpu_seconds == 0


@pytest.mark.fault(21)
async def test_a_job_that_waited_long_for_its_node_says_how_long_when_its_deadline_ends_it():
    world = World(a_platform(deadlineSeconds=1800))
    world.store.slow.add("elicit")
    world.cluster.node.refuses = lambda pod: NO_GPU if "-elicit-" in pod["metadata"]["name"] else ""
    await world.submit()
    await wait(world, 14 * MINUTE)
    world.cluster.node.refuses = lambda _: ""
    await wait(world, 18 * MINUTE)
    assert world.is_true("Failed")
    assert "the first node took a pod of it 8" in world.message("elicit")


@pytest.mark.fault(21)
async def test_a_job_that_says_nothing_past_its_deadline_because_its_node_is_lost_stalls_the_run():
    """The Job controller waits for the pods of a lost node, so neither Complete nor Failed ever comes."""
    world = World(a_platform(deadlineSeconds=60))
    world.store.slow.add("elicit")
    await world.submit()
    while not world.jobs(stage="elicit"):
        await world.tick()
    await world.tick()
    world.cluster.node.silent = lambda _: True
    await wait(world, 14 * MINUTE)
    assert world.jobs(stage="elicit") == world.live()
    assert world.is_true("Stalled")
    assert not deleted(world)


@pytest.mark.fault(22)
@pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["an hour ahead", "an hour back"])
async def test_an_operator_whose_clock_jumps_at_any_moment_counts_the_same_hours_and_fails_nothing(moments, jump):
    for moment in moments[::5]:
        world = moment.fork()
        world.skew = jump
        await world.finish()
        assert outcome(world) == outcome(moments[-1])


@pytest.mark.fault(22)
async def test_a_clock_that_leaps_to_and_fro_all_along_a_run_changes_nothing_in_it(moments):
    world = moments[0].fork()
    while not world.is_true("Complete"):
        assert not world.is_true("Failed")
        await world.tick()
        world.skew = -world.skew if world.skew else HOUR
    assert outcome(world) == outcome(moments[-1])
    assert sorted(created(world)) == sorted(created(moments[-1]))


@pytest.mark.fault(22)
async def test_hours_of_a_job_that_is_stopped_are_never_negative(moments):
    world = when_running(moments, "elicit")
    world.skew = -HOUR
    world.cluster.edit(NAMESPACE, NAME, suspend=True)
    await world.finish()
    assert outcome(world).gpu_hours == 0


@pytest.mark.fault(24)
async def test_a_run_for_which_no_gpu_is_free_waits_in_the_schedulers_words_and_starts_nothing_twice(moments):
    world = before_the_first(moments, "elicit")
    world.cluster.node.refuses = lambda _: NO_GPU
    await wait(world, 12 * MINUTE)
    assert world.status().stage("elicit").state is State.WAITING
    assert world.message("elicit") == NO_GPU
    assert not world.is_true("Failed")
    world.cluster.node.refuses = lambda _: ""
    await world.finish()
    assert outcome(world).seals == outcome(moments[-1]).seals
    assert sorted(created(world)) == sorted(created(moments[-1]))


@pytest.mark.fault(24)
async def test_the_time_for_which_no_gpu_was_free_is_not_counted_as_gpu_hours(moments):
    world = before_the_first(moments, "elicit")
    world.cluster.node.refuses = lambda _: NO_GPU
    await wait(world, 12 * MINUTE)
    world.cluster.node.refuses = lambda _: ""
    await world.finish()
    assert outcome(world).gpu_hours == pytest.approx(outcome(moments[-1]).gpu_hours, abs=0.01)


@pytest.mark.fault(24)
async def test_a_run_that_its_queue_holds_back_waits_and_goes_on_when_it_is_admitted(moments):
    world = World()
    world.cluster.kueue.open = set()
    await world.submit(queueName="gpu-batch")
    await wait(world, 5 * MINUTE)
    assert world.status().stage("preflight").state is State.WAITING
    assert world.message("preflight") == "Kueue: LocalQueue gpu-batch is not open"
    assert not world.cluster.objects.list("Pod")
    assert len(created(world)) == 1
    world.cluster.kueue.open = None
    await world.finish()
    assert outcome(world).seals == outcome(moments[-1]).seals
    assert sorted(created(world)) == sorted(set(created(world)))


@pytest.mark.fault(66)
@pytest.mark.parametrize("words", [NO_ACCOUNT, INSECURE, NO_QUOTA])
async def test_a_job_whose_pods_are_refused_tells_why_within_a_minute_and_goes_on_when_they_are_not(moments, words):
    world = World()
    world.cluster.jobs.refusal = words
    await world.submit()
    await wait(world, MINUTE)
    assert world.message("preflight") == words
    assert not world.is_true("Failed")
    world.cluster.jobs.refusal = ""
    await world.finish()
    assert outcome(world).seals == outcome(moments[-1]).seals
    assert sorted(created(world)) == sorted(created(moments[-1]))


@pytest.mark.fault(65)
async def test_a_stage_whose_last_word_is_lost_is_asked_again_and_does_no_work_again(moments):
    for stage in ("preflight", "elicit", "judge-base", "train", "report"):
        world = before_the_first(moments, stage)
        world.store.endings[stage] = [Ended(ExitCode.DONE)]
        await world.finish()
        assert len(created(world)) == len(created(moments[-1])) + 1
        assert outcome(world).seals == outcome(moments[-1]).seals
        assert outcome(world).work == outcome(moments[-1]).work


@pytest.mark.fault(65)
async def test_a_run_of_which_every_stage_loses_its_last_word_comes_to_the_same_end(moments):
    world = moments[0].fork()
    world.store.endings = {stage.name: [Ended(ExitCode.DONE)] for stage in moments[-1].status().stages}
    await world.finish()
    assert outcome(world).seals == outcome(moments[-1]).seals
    assert outcome(world).work == outcome(moments[-1]).work
