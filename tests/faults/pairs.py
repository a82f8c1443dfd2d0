"""Runs that train on two nodes: their builder, and what tests ask of them."""

from rehearsal.api.messages import RANK_LOST, ExitCode, Termination
from rehearsal.api.status import State
from rehearsal.cluster.port import Manifests
from rehearsal.manifests.jobs import LABEL
from tests.faults.node import Ended
from tests.faults.world import NAMESPACE, World
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
