"""A world in which runs are carried out: cluster, store, workers, clock and operator, moved on one step at a time, and what must stay true.

A world forks cheaply, so that a test can try every fault at every moment of the same story.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from rehearsal.api.platform import Platform
from rehearsal.api.status import RunStatus, Seal, State
from rehearsal.cluster.job_status import condition_of
from rehearsal.cluster.port import Conflict, Manifest, Manifests
from rehearsal.controller.reconcile import Reconciled, reconcile
from rehearsal.manifests.jobs import LABEL
from tests.faults.artifacts import Artifacts
from tests.faults.connection import Connection
from tests.faults.memory import MemoryCluster
from tests.faults.node import Ended
from tests.faults.objects import Key
from tests.unit.worlds import a_platform, a_spec

NAMESPACE, NAME = "research", "medical"
GPU = "nvidia.com/gpu"
MOST_STEPS = 200


class World:
    """One cluster, one store, one operator. `skew` is what the operator's clock is wrong by."""

    def __init__(self, platform: Platform | None = None) -> None:
        self.platform = platform or a_platform(device={"resource": GPU})
        self.store = Artifacts()
        self.cluster = MemoryCluster(self.store.worker, self.store.log)
        self.cluster.watch = self._forbid_regress
        self.skew = timedelta(0)

    def fork(self) -> "World":
        twin = World(self.platform)
        twin.store = self.store.fork()
        twin.cluster = self.cluster.fork(twin.store.worker, twin.store.log)
        twin.cluster.watch = twin._forbid_regress
        twin.skew = self.skew
        return twin

    async def submit(self, name: str = NAME, **spec: object) -> None:
        metadata = {"name": name, "namespace": NAMESPACE}
        manifest = {"apiVersion": "rehearsal.dev/v1alpha1", "kind": "ReconstructionRun", "metadata": metadata}
        await self.cluster.create(manifest | {"spec": a_small_spec(**spec)})

    async def look(self, name: str = NAME, through: Connection | None = None) -> Reconciled | None:
        """Reconcile a run once. A lost race is the next look's to win."""
        try:
            turn = await reconcile(through or Connection(self.cluster), self.platform, NAMESPACE, name, self.clock)
        except Conflict:
            return None
        if turn and turn.error and not isinstance(turn.error, Conflict):
            raise turn.error
        return turn

    async def rest(self) -> "World":
        """Look until there is nothing more to do at this moment."""
        for _ in range(10):
            connection = Connection(self.cluster)
            await self.look(through=connection)
            if not connection.writes:
                return self
        raise AssertionError(f"never rests: {self.lines()}")

    async def tick(self, *names: str) -> None:
        """One look at each run, and one step of everybody else."""
        for name in names or (NAME,):
            await self.look(name)
        self.cluster.step()

    async def finish(self, *names: str) -> "World":
        """Tick until every run has come to its end, and look once more at what it came to."""
        for _ in range(MOST_STEPS):
            await self.tick(*names)
            if all(ended(self.status(name)) for name in names or (NAME,)):
                return self
        raise AssertionError(f"does not come to an end: {[self.lines(name) for name in names or (NAME,)]}")

    def clock(self) -> datetime:
        return self.cluster.now + self.skew

    def run(self, name: str = NAME) -> Manifest:
        found = self.cluster.objects.get("ReconstructionRun", NAMESPACE, name)
        assert found, f"the run {name} is gone"
        return found

    def status(self, name: str = NAME) -> RunStatus:
        return status_of(self.run(name))

    def lines(self, name: str = NAME) -> list[str]:
        """The run as a person sees it."""
        status = self.status(name)
        reasons = [f"{c.type}: {c.reason}: {c.message}" for c in status.conditions if c.status == "True"]
        return reasons + [f"{stage.name} {stage.state} {stage.message}" for stage in status.stages]

    def message(self, stage: str, name: str = NAME) -> str:
        found = self.status(name).stage(stage)
        return found.message if found else ""

    def is_true(self, condition: str, name: str = NAME) -> bool:
        found = self.status(name).condition(condition)
        return found is not None and found.status == "True"

    def jobs(self, name: str | None = None, stage: str | None = None) -> Manifests:
        wanted = {f"{LABEL}/run": name, f"{LABEL}/stage": stage}
        return self.cluster.objects.list("Job", NAMESPACE, {key: value for key, value in wanted.items() if value})

    def live(self, name: str | None = None) -> Manifests:
        return [job for job in self.jobs(name) if not condition_of(job.get("status") or {}, "Complete", "Failed")]

    def stages_of_jobs(self, name: str | None = None) -> list[str]:
        return sorted(stage_of(job) for job in self.jobs(name))

    async def remove(self, kind: str, name: str) -> None:
        """Delete by hand."""
        found = self.cluster.objects.get(kind, NAMESPACE, name)
        assert found, f"no {kind} {name} to delete"
        await self.cluster.delete(kind, NAMESPACE, name, found["metadata"]["uid"])

    def _forbid_regress(self, before: Manifest, after: Manifest) -> None:
        """No status that is written forgets a seal that the store still holds, or an observed generation."""
        old, new = status_of(before), status_of(after)
        assert new.observed_generation >= old.observed_generation, "the observed generation went back"
        for stage in old.stages:
            now = new.stage(stage.name)
            if stage.sealed and stage.fingerprint in self.store.seals and now and now.fingerprint == stage.fingerprint:
                assert now.sealed == stage.sealed, f"the seal of {stage.name} was forgotten"
                assert now.state in (State.SUCCEEDED, State.REUSED), f"{stage.name} is sealed and {now.state}"
        edited = after["metadata"]["generation"] > old.observed_generation
        assert edited or len(new.stages) >= len(old.stages), "stages were forgotten"


def a_small_spec(**changes: object) -> dict[str, Any]:
    """Two members that answer side by side, one of them judges, nothing is evaluated: ten stages, with every kind of step."""
    members = [{"name": "base", "base": True}, {"name": "peer", "model": {"uri": "store://peer"}}]
    made = {"count": 100, "committee": {"members": members}, "judging": {"judges": ["base"], "minJudges": 1}}
    return a_spec(rehearsal={"reconstructed": made}, evaluation={"tasks": []}) | changes


@dataclass(frozen=True)
class Outcome:
    """What a run comes to, and what must be the same however it came to it."""

    seals: Mapping[str, Seal | None]
    true: frozenset[str]
    work: Mapping[tuple[str, str, int], int]
    gpu_hours: float
    live: int


def outcome(world: World, name: str = NAME) -> Outcome:
    status = world.status(name)
    return Outcome(
        seals={stage.name: stage.sealed for stage in status.stages},
        true=frozenset(condition.type for condition in status.conditions if condition.status == "True"),
        work=dict(world.store.work),
        gpu_hours=status.usage.gpu_hours,
        live=len(world.live(name)),
    )


def essence(world: World) -> dict[Key, object]:
    """All that can make a difference later: objects without their versions, a run's status without its times and figures."""
    found: dict[Key, object] = {}
    for key, item in world.cluster.objects.items.items():
        if key[0] == "ReconstructionRun":
            status = status_of(item)
            conditions = [c.model_copy(update={"last_transition_time": ""}) for c in status.conditions]
            stages = [stage.model_copy(update={"done": 0, "total": 0, "unit": ""}) for stage in status.stages]
            figures = {"progress": 0, "progress_at": None, "eta": None, "remaining": ""}
            found[key] = status.model_copy(update={"conditions": conditions, "stages": stages, **figures})
        elif key[0] != "Event":
            found[key] = item | {"metadata": item["metadata"] | {"resourceVersion": ""}}
    return found


async def rejoins(world: World, path: World, end: World) -> None:
    """A disturbed world is where an undisturbed one is, from where all goes the same way; or it comes to the same end by its own."""
    if essence(world) != essence(path):
        await world.finish()
        assert outcome(world) == outcome(end)


def created(world: World) -> list[str]:
    """The Jobs that were ever created, each as often as it was."""
    return [name for verb, kind, name in world.cluster.written if (verb, kind) == ("create", "Job")]


def deleted(world: World) -> list[str]:
    return [name for verb, kind, name in world.cluster.written if (verb, kind) == ("delete", "Job")]


def ended(status: RunStatus) -> bool:
    return any(c.type in ("Complete", "Failed", "Suspended") and c.status == "True" for c in status.conditions)


def status_of(run: Manifest) -> RunStatus:
    return RunStatus.model_validate(run.get("status") or {})


def stage_of(job: Manifest) -> str:
    return str(job["metadata"]["labels"][f"{LABEL}/stage"])


async def story(rounds: int = 1, endings: Mapping[str, Sequence[Ended]] = MappingProxyType({}), **spec: Any) -> list[World]:
    """An undisturbed run, as the world was before each look; the last is the world after the run's end.

    `endings`: how the first pods of a stage end, where the story has mishaps of its own.
    """
    world = World()
    world.store.rounds_needed = rounds
    world.store.endings = {stage: list(those) for stage, those in endings.items()}
    await world.submit(**spec)
    moments = [world.fork()]
    while not ended(world.status()):
        assert len(moments) < MOST_STEPS, world.lines()
        await world.tick()
        moments.append(world.fork())
    return moments
