"""An API server that takes no Job: a webhook that is down, a quota, a policy. What was observed is recorded, and what is wrong is told."""

from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise

import pytest

from rehearsal.api.status import State
from rehearsal.cluster.port import ClusterError, Conflict, Forbidden, Invalid, Manifest, Unavailable
from rehearsal.controller.trouble import tell
from tests.faults.connection import Connection
from tests.faults.memory import STEP
from tests.faults.pairs import until
from tests.faults.world import NAME, NAMESPACE, World, created, outcome, stage_of

WEBHOOK = Unavailable(
    'create Job: Internal error occurred: failed calling webhook "mjob.kb.io": failed to call webhook: connection refused (HTTP 500)'
)
QUOTA = Forbidden('may not create Job: jobs.batch "medical" is forbidden: exceeded quota: objects, requested: count/jobs.batch=1')
POLICY = Invalid("spec.template: images must be signed")
LASTING = timedelta(minutes=1)


class Server:
    """An operator's way to a cluster that refuses creates, and what its visits make of that: see `visits`."""

    def __init__(self, world: World, answer: ClusterError | None, refuses: Callable[[Manifest], bool] = lambda _: True) -> None:
        self.world, self.answer, self.refuses = world, answer, refuses
        self.writes = 0
        self._failing_since = None

    async def visit(self) -> ClusterError | None:
        """Look once, and tell the run of trouble that lasts, or needs somebody."""
        connection = Connection(self.world.cluster)
        connection.admits = lambda manifest: self.answer if self.refuses(manifest) else None
        error = None
        try:
            await self.world.look(through=connection)
            self._failing_since = None
        except ClusterError as raised:
            error = raised
            self._failing_since = self._failing_since or self.world.cluster.now
            if isinstance(error, Forbidden | Invalid) or self.world.cluster.now - self._failing_since >= LASTING:
                await tell(connection, NAMESPACE, NAME, error, self.world.clock())
        self.writes = connection.writes
        return error

    async def tick(self, times: int = 1) -> None:
        for _ in range(times):
            await self.visit()
            self.world.cluster.step()


class Unconverted(Connection):
    """A cluster whose Kueue is away, and with it the conversion of its Workloads."""

    async def list(self, kind, namespace, labels):
        if kind == "Workload":
            raise Unavailable("list Workload: conversion webhook failed (HTTP 500)")
        return await super().list(kind, namespace, labels)


def before_the_first(moments: list[World], stage: str) -> World:
    """The moment at which the first Job of a stage is about to be created."""
    return next(a for a, b in pairwise(moments) if not a.jobs(stage=stage) and b.jobs(stage=stage)).fork()


def is_of(*stages: str) -> Callable[[Manifest], bool]:
    return lambda manifest: manifest["kind"] == "Job" and stage_of(manifest) in stages


def said(world: World) -> str:
    return " | ".join(f"{c.type}={c.status} {c.reason}: {c.message}" for c in world.status().conditions)


@pytest.mark.fault(69)
@pytest.mark.parametrize("answer", [WEBHOOK, QUOTA, POLICY], ids=["webhook", "quota", "policy"])
async def test_a_run_none_of_whose_jobs_is_taken_says_so_at_its_first_look_and_goes_on_when_they_are(moments, answer):
    world = moments[0].fork()
    server = Server(world, answer)
    assert await server.visit() is answer
    assert str(answer) in world.message("preflight")
    assert world.status().stage("preflight").state is State.WAITING
    assert len(world.status().conditions) == 6
    assert str(answer) in said(world)
    await server.tick(20)
    assert world.is_true("Stalled")
    assert str(answer) in world.status().condition("Stalled").message
    assert str(answer) in world.status().condition("Ready").message
    server.answer = None
    await server.visit()
    assert not world.is_true("Stalled")
    assert str(answer) not in said(world) + world.message("preflight")
    await world.finish()
    assert outcome(world).seals == outcome(moments[-1]).seals
    assert sorted(created(world)) == sorted(created(moments[-1]))


@pytest.mark.fault(69)
@pytest.mark.parametrize("answer", [WEBHOOK, QUOTA], ids=["webhook", "quota"])
async def test_what_was_observed_is_recorded_though_the_next_job_is_not_taken_and_outlasts_the_job_it_was_seen_on(moments, answer):
    """The guard: the seal and the hours stand in the status although the Job goes by its TTL before the next one is taken."""
    world = before_the_first(moments, "filter")
    server = Server(world, answer)
    await server.tick()
    assert world.status().stage("elicit").sealed
    hours = world.status().usage.gpu_seconds
    assert hours == moments[-1].status().stage("elicit").gpu_seconds
    world.cluster.now += timedelta(seconds=world.jobs(stage="elicit")[0]["spec"]["ttlSecondsAfterFinished"])
    await server.tick(20)
    assert not world.jobs(stage="elicit")
    assert str(answer) in world.message("filter")
    server.answer = None
    await world.finish()
    assert outcome(world).seals == outcome(moments[-1]).seals
    assert outcome(world).work == outcome(moments[-1]).work
    assert len([name for name in created(world) if "-elicit-" in name]) == 1
    assert world.status().usage.gpu_seconds >= hours


@pytest.mark.fault(69)
@pytest.mark.parametrize("answer", [WEBHOOK, QUOTA, POLICY], ids=["webhook", "quota", "policy"])
async def test_a_stage_whose_job_is_not_taken_waits_and_the_others_go_on(moments, answer):
    world = before_the_first(moments, "respond-base")
    server = Server(world, answer, is_of("respond-base"))
    await server.tick(2)
    assert world.status().stage("respond-base").state is State.WAITING
    assert str(answer) in world.message("respond-base")
    await server.tick(20)
    assert world.status().stage("respond-peer").sealed
    assert world.status().stage("respond-base").blocked == type(answer).__name__
    server.answer = None
    await world.finish()
    assert outcome(world).seals == outcome(moments[-1]).seals


@pytest.mark.fault(69)
@pytest.mark.parametrize("answer", [WEBHOOK, QUOTA, POLICY], ids=["webhook", "quota", "policy"])
async def test_what_is_told_of_a_create_that_fails_is_not_written_again_at_every_look(moments, answer):
    server = Server(before_the_first(moments, "filter"), answer)
    await server.tick(20)
    told = server.world.status().condition("Stalled").message
    assert told.startswith("filter: ") == isinstance(answer, Forbidden | Invalid)
    for _ in range(3):
        await server.visit()
        assert server.writes == 0


@pytest.mark.fault(69)
async def test_a_create_that_only_lost_a_race_is_not_told_and_the_others_go_on(moments):
    world = before_the_first(moments, "respond-base")
    connection = Connection(world.cluster)
    connection.admits = lambda job: Conflict("resourcequotas changed") if stage_of(job) == "respond-base" else None
    await world.look(through=connection)
    assert world.jobs(stage="respond-peer")
    assert world.message("respond-base") == ""
    await world.finish()
    assert outcome(world).seals == outcome(moments[-1]).seals


@pytest.mark.fault(69)
async def test_an_operator_killed_at_any_write_while_creates_fail_converges_and_says_what_is_wrong(moments):
    for kth in range(1, 4):
        world = before_the_first(moments, "filter")
        connection = Connection(world.cluster)
        connection.admits, connection.crash_after = lambda _: WEBHOOK, kth
        try:
            await world.look(through=connection)
        except BaseException as end:  # noqa: BLE001 - killed, or through with the look
            assert type(end).__name__ in ("Crash", "Unavailable")
        await Server(world, WEBHOOK).visit()
        assert str(WEBHOOK) in world.message("filter")
        await world.finish()
        assert outcome(world) == outcome(moments[-1])


@pytest.mark.fault(69)
@pytest.mark.parametrize("stop", [{"suspend": True}, {"store": "attic"}], ids=["suspended", "refused"])
async def test_a_job_that_may_not_be_deleted_is_told_without_a_write_at_every_look_until_it_may(moments, stop):
    world = next(moment for moment in moments if moment.live()).fork()
    world.cluster.edit(NAMESPACE, NAME, **stop)
    shrunk = Connection(world.cluster)
    shrunk.forbidden.add(("delete", "Job"))
    for _ in range(4):
        written = shrunk.writes
        with pytest.raises(Forbidden) as caught:
            await world.look(through=shrunk)
        await tell(shrunk, NAMESPACE, NAME, caught.value, world.clock())
    assert shrunk.writes == written
    assert "delete Job" in said(world) or "store" in stop
    await world.look()
    assert "delete Job" not in said(world)
    assert not world.live()


@pytest.mark.fault(69)
async def test_words_that_cannot_be_asked_for_stop_no_look():
    """Kueue is away, and with it the conversion of its Workloads: the run goes on, and says that it is not known why it waits."""
    world = World()
    world.cluster.kueue.open = set()
    await world.submit(queueName="gpu-batch")
    await world.tick()
    await world.tick()
    await world.look(through=Unconverted(world.cluster))
    assert world.message("preflight") == "it is not known why: list Workload: conversion webhook failed (HTTP 500)"


@pytest.mark.fault(71)
async def test_a_place_in_a_queue_that_cannot_be_read_is_kept():
    world = World()
    for name in (NAME, "other"):
        await world.submit(name, queueName="gpu-batch")
    while not all(world.status(name).stage("elicit") for name in (NAME, "other")):
        await world.tick(NAME, "other")
    world.cluster.kueue.open = set()
    for _ in range(15):
        for name in (NAME, "other"):
            await world.look(name, through=Unconverted(world.cluster))
        world.cluster.now += timedelta(minutes=1)
        world.cluster.step()
    assert len(world.jobs(stage="elicit")) == 1


@pytest.mark.fault(69)
async def test_reads_that_fail_for_a_minute_are_told_and_forgotten_when_they_are_over(moments):
    world = next(moment for moment in moments if moment.live()).fork()
    before = world.status()
    error = Unavailable("list Pod: etcdserver: request timed out (HTTP 500)")
    assert await tell(world.cluster, NAMESPACE, NAME, error, world.clock())
    assert not await tell(world.cluster, NAMESPACE, NAME, error, world.clock())
    assert world.status().condition("Stalled").message == f"a call to the API server fails: {error}"
    assert world.status().stages == before.stages
    world.cluster.now += STEP
    await world.look()
    assert not world.is_true("Stalled")
    await until(world, State.SUCCEEDED, "report")
