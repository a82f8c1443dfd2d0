"""Runs in their several states, as an API server would hold them: brought about by the operator in an in-memory cluster."""

from collections.abc import Callable

from rehearsal.api.crd import crd
from rehearsal.api.messages import ExitCode, Termination
from rehearsal.api.status import State
from rehearsal.cluster.port import Forbidden, Manifest
from rehearsal.cluster.stamps import stamp
from rehearsal.controller.trouble import tell
from rehearsal.manifests.jobs import LABEL
from tests.faults.connection import Connection
from tests.faults.world import MOST_STEPS, NAME, NAMESPACE, World


def unwritten() -> Manifest:
    """The status that the API server shows where the operator has not written one."""
    version = crd()["spec"]["versions"][0]
    return dict(version["schema"]["openAPIV3Schema"]["properties"]["status"].get("default", {}))


async def applied() -> World:
    world = World()
    await world.submit()
    return world


async def until(world: World, true: Callable[[], bool], *runs: str) -> World:
    for _ in range(MOST_STEPS):
        if true():
            return world
        await world.tick(*runs)
    raise AssertionError(world.lines())


async def at_work(*stages: str) -> World:
    """Carried out until these stages run; all but preflight then come to nothing."""
    world = await applied()
    world.store.slow |= set(stages)
    return await until(world, lambda: stages_that(world, State.RUNNING) == set(stages))


async def completed(known: list[World] = []) -> World:  # noqa: B006 - remembers the one that all go on from
    if not known:
        known.append(await (await applied()).finish())
    return known[0].fork()


async def failed_at(stage: str, *others: str) -> World:
    """A stage was refused by its worker, while others work on."""
    world = await at_work(stage, *others)
    word = Termination(reason="Refused", message="no such model").model_dump_json(by_alias=True, exclude_defaults=True)
    ended = {"exitCode": int(ExitCode.REFUSED), "message": word, "finishedAt": stamp(world.clock())}
    end_pods(world, stage, containerStatuses=[{"name": "main", "state": {"terminated": ended}}])
    return await until(world, lambda: stages_that(world, State.FAILED) == {stage})


def end_pods(world: World, stage: str, **how: object) -> None:
    """Let a stage's pods fail, whatever they were about."""
    for pod in world.cluster.objects.each("Pod"):
        if pod["metadata"]["labels"][f"{LABEL}/stage"] == stage and pod["status"]["phase"] != "Failed":
            world.cluster.objects.replace(pod | {"status": pod["status"] | {"phase": "Failed"} | how})


def stages_that(world: World, state: State) -> set[str]:
    return {stage.name for stage in world.status().stages if stage.state is state}


async def edited(world: World, **spec: object) -> World:
    world.cluster.edit(NAMESPACE, NAME, **spec)
    return world


async def looked_at(world: World) -> World:
    await world.look()
    return world


async def deleted(world: World) -> World:
    """Something with a finalizer still holds it."""
    world.cluster.objects.mark(world.run())
    return world


async def without_rights(world: World) -> World:
    connection = Connection(world.cluster)
    connection.forbidden = {("create", "Job")}
    try:
        await world.look(through=connection)
    except Forbidden as error:
        await tell(world.cluster, NAMESPACE, NAME, error, world.clock())
    return world
