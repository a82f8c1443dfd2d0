"""What Flux and Argo CD should make of a run in every state, and how the words begin that Argo CD shows."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from rehearsal.cluster.port import Manifest
from rehearsal.controller.life import ENDING
from rehearsal.controller.stalls import GRACE, MOST_DISRUPTIONS
from tests.control.run_states import (
    applied,
    at_work,
    completed,
    deleted,
    edited,
    end_pods,
    failed_at,
    looked_at,
    until,
    unwritten,
    without_rights,
)
from tests.faults.world import NAME, NAMESPACE, World
from tests.unit.worlds import a_platform

UNSEEN = "waits for the operator to look"
Making = Callable[[], Awaitable[World]]


@dataclass(frozen=True)
class Row:
    """A state by its name, the verdicts on it, and how it comes about."""

    name: str
    flux: str
    argo: str
    words: str
    bring_about: Making
    run: str = NAME

    async def manifest(self) -> Manifest:
        """The run in this state."""
        return (await self.bring_about()).run(self.run)


TABLE: list[Row] = []


def judged(flux: str, argo: str, words: str, run: str = NAME) -> Callable[[Making], Making]:
    """Make a row of the table of a function that brings a state about."""

    def add(bring_about: Making) -> Making:
        TABLE.append(Row(bring_about.__name__.strip("_").replace("_", " "), flux, argo, words, bring_about, run))
        return bring_about

    return add


@judged("InProgress", "Progressing", UNSEEN)
async def _just_applied() -> World:
    world = await applied()
    world.cluster.objects.replace(world.run() | {"status": unwritten()})
    return world


@judged("InProgress", "Progressing", "Running: preflight")
async def _looked_at_once() -> World:
    return await looked_at(await applied())


@judged("InProgress", "Progressing", "Running: respond-base, respond-peer")
async def _running() -> World:
    return await at_work("respond-base", "respond-peer")


@judged("InProgress", "Progressing", "Waiting: preflight: 0/3 nodes are available")
async def _waiting_for_a_node() -> World:
    world = await applied()
    world.cluster.node.refuses = lambda _: "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    return await until(world, lambda: bool(world.message("preflight")))


@judged("InProgress", "Progressing", "Waiting: preflight: Kueue")
async def _waiting_for_a_queue() -> World:
    world = World()
    world.cluster.kueue.open = set()
    await world.submit(queueName="gpu-batch")
    return await until(world, lambda: bool(world.message("preflight")))


@judged("InProgress", "Progressing", "Waiting: elicit: waits for run medical", run="twin")
async def _waiting_for_another_run() -> World:
    world = await at_work("elicit")
    await world.submit("twin")
    return await until(world, lambda: bool(world.message("elicit", "twin")), NAME, "twin")


@judged("Failed", "Degraded", "StageFailed: respond-base: Refused: no such model")
async def _one_stage_failed_and_another_at_work() -> World:
    return await failed_at("respond-base", "respond-peer")


@judged("InProgress", "Suspended", "Suspended: spec.suspend is true")
async def _suspended() -> World:
    return await looked_at(await edited(await at_work("elicit"), suspend=True))


@judged("InProgress", "Progressing", UNSEEN)
async def _resumed_and_not_yet_looked_at() -> World:
    return await edited(await looked_at(await edited(await at_work("elicit"), suspend=True)), suspend=False)


@judged("InProgress", "Progressing", "Running")
async def _resumed() -> World:
    world = await edited(await looked_at(await edited(await at_work("elicit"), suspend=True)), suspend=False)
    return await looked_at(world)


@judged("Current", "Healthy", "Complete")
async def _complete() -> World:
    return await completed()


@judged("InProgress", "Progressing", UNSEEN)
async def _complete_and_then_edited() -> World:
    return await edited(await completed(), seed=7)


@judged("InProgress", "Progressing", "Running: preflight")
async def _complete_and_then_edited_and_looked_at() -> World:
    return await looked_at(await edited(await completed(), seed=7))


@judged("InProgress", "Progressing", UNSEEN)
async def _complete_and_asked_to_rerun() -> World:
    return await edited(await completed(), rerun="2")


@judged("InProgress", "Suspended", "Suspended")
async def _complete_and_then_suspended() -> World:
    return await looked_at(await edited(await completed(), suspend=True))


@judged("Failed", "Degraded", "StageFailed: elicit: Refused: no such model")
async def _a_stage_failed() -> World:
    return await failed_at("elicit")


@judged("Failed", "Degraded", "StageFailed: preflight: Refused: no such model")
async def _preflight_refused() -> World:
    return await failed_at("preflight")


@judged("InProgress", "Progressing", UNSEEN)
async def _failed_and_asked_to_retry() -> World:
    return await edited(await failed_at("elicit"), retry="2")


@judged("Failed", "Degraded", "Refused: spec.store: the platform has no store 'attic'")
async def _refused() -> World:
    world = World()
    await world.submit(store="attic")
    return await looked_at(world)


@judged("Failed", "Degraded", "Refused: spec.store")
async def _complete_and_then_edited_into_nonsense() -> World:
    return await looked_at(await edited(await completed(), store="attic"))


@judged("Failed", "Degraded", "NameTaken")
async def _its_jobs_name_taken() -> World:
    known = await looked_at(await applied())
    name = known.jobs(stage="preflight")[0]["metadata"]["name"]
    world = await applied()
    theirs = {"name": name, "namespace": NAMESPACE}
    await world.cluster.create({"apiVersion": "batch/v1", "kind": "Job", "metadata": theirs, "spec": {"suspend": True}})
    return await looked_at(world)


@judged("Failed", "Degraded", "DeadlineIgnored")
async def _a_job_alive_past_its_deadline() -> World:
    world = await at_work("elicit")
    world.cluster.jobs.dead = True
    world.cluster.now += timedelta(seconds=world.platform.deadline_seconds) + GRACE
    return await looked_at(world)


@judged("Failed", "Degraded", "Disrupted: elicit: 5 pods")
async def _drained_again_and_again() -> World:
    world = await at_work("elicit")
    target = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
    for _ in range(MOST_DISRUPTIONS):
        end_pods(world, "elicit", conditions=[target])
        await world.tick()
        await world.tick()
    return await looked_at(world)


@judged("Failed", "Degraded", "StoreGone: spec.store: the platform has no store 'default' any more")
async def _at_work_on_a_platform_that_has_lost_its_store() -> World:
    world = await at_work("elicit")
    world.platform = a_platform(stores={})
    return await looked_at(world)


@judged("InProgress", "Progressing", "Running")
async def _drained_again_and_again_and_then_at_work() -> World:
    world = await _drained_again_and_again()
    world.store.slow.clear()
    return await until(world, lambda: not world.is_true("Stalled"))


@judged("Failed", "Degraded", "PodStuck: elicit: pod medical-elicit-")
async def _a_pod_that_its_dead_node_keeps() -> World:
    world = await at_work("elicit")
    world.cluster.node.silent = lambda _: True
    for pod in world.cluster.objects.each("Pod"):
        if pod["status"]["phase"] == "Running":
            world.cluster.objects.mark(pod)
    world.cluster.now += ENDING + timedelta(minutes=1)
    return await looked_at(world)


@judged("Failed", "Degraded", "Forbidden")
async def _forbidden() -> World:
    return await without_rights(await applied())


@judged("Failed", "Degraded", "Forbidden")
async def _complete_and_then_edited_and_forbidden() -> World:
    return await without_rights(await edited(await completed(), seed=7))


@judged("Terminating", "Progressing", "Pending deletion")
async def _being_deleted() -> World:
    return await deleted(await at_work("elicit"))


@judged("Terminating", "Progressing", "Pending deletion")
async def _complete_and_being_deleted() -> World:
    return await deleted(await completed())
