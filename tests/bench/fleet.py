"""Many runs at once, each at another stage, and the workers of their pods: they work until they are told to end.

No two runs have a stage in common: sharing would spare the operator work. What lies behind a run at its start, preflight finds sealed.
"""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256

from rehearsal.api.messages import PROGRESS_PREFIX, Progress, Termination
from rehearsal.api.run import RunSpec
from rehearsal.api.task import Task
from rehearsal.pipeline.stage import Kind
from rehearsal.pipeline.stages import stages_of
from tests.control.access import Manifest
from tests.control.player import Player
from tests.control.pod_status import Pod
from tests.control.story import a_run, last_word, task_of

RUNS = "/apis/rehearsal.dev/v1alpha1/namespaces/{}/reconstructionruns"
AT_ONCE = 8
"""Requests of the player in flight: a real cluster's kubelets do not speak all at once either."""
PROGRESS_SECONDS = 10.0
READS = {stage.name: frozenset(stage.inputs.values()) for stage in stages_of(RunSpec.model_validate(a_run("any")["spec"]))}
"""Stage -> the stages that must be sealed before its Job is created."""
ORDER = sorted(READS, key=lambda stage: (bool(READS[stage]), list(READS).index(stage)))
"""The order in which stages are found sealed: what reads nothing comes first, so that most runs have one stage at work."""


def a_run_of_its_own(namespace: str, number: int) -> Manifest:
    """A run whose inputs, and so whose stages, are no other run's."""
    own = f"store://run-{number}"
    members = [{"name": "base", "base": True}, {"name": "peer", "model": {"uri": f"{own}/peer"}}]
    return a_run(
        namespace,
        f"run-{number:04}",
        baseModel={"uri": f"{own}/base"},
        rehearsal={"reconstructed": {"count": 100, "committee": {"members": members}}},
        domain={"uri": f"{own}/domain.jsonl"},
        evaluation={"tasks": [{"name": "general", "uri": f"{own}/general.yaml"}]},
    )


@dataclass
class Work:
    """A pod at work, and what ends it."""

    run: str
    pod: Pod
    over: asyncio.Event = field(default_factory=asyncio.Event)
    done: int = 0


class Fleet:
    """The runs of a namespace, by name. `at_work`: the pods that work until they are told to end, by UID."""

    def __init__(self, player: Player, namespace: str, count: int) -> None:
        self._player, self._namespace = player, namespace
        self.names = [f"run-{number:04}" for number in range(count)]
        self.at_work: dict[str, Work] = {}
        self._ended: Counter[str] = Counter()
        self._sealed = {name: ORDER[: number % len(ORDER)] for number, name in enumerate(self.names)}
        self._hurries = False
        self._polite = asyncio.Semaphore(AT_ONCE)
        self._random = random.Random(0)  # noqa: S311

    async def apply(self) -> None:
        """Create the runs."""

        async def create(number: int) -> None:
            async with self._polite:
                await self._player.api.create(RUNS.format(self._namespace), a_run_of_its_own(self._namespace, number))

        await asyncio.gather(*(create(number) for number in range(len(self.names))))

    async def play(self, pod: Pod) -> None:
        """The script of every pod."""
        run = pod.labels["rehearsal.dev/run"]
        async with self._polite:
            await self._player.run(pod)
        if pod.stage != Kind.PREFLIGHT and not self._hurries:
            work = self.at_work[pod.uid] = Work(run, pod)
            await work.over.wait()
            del self.at_work[pod.uid]
        async with self._polite:
            await self._player.finish(pod, message=self._last_word(run, task_of(pod)))
        self._ended[run] += 1

    async def make_progress(self) -> None:
        """Print what workers print, for ever."""
        while True:
            for work in list(self.at_work.values()):
                work.done += 1
                figures = Progress(done=work.done, total=1000, per_second=1 / PROGRESS_SECONDS)
                self._player.log(work.pod, f"{PROGRESS_PREFIX}{figures.model_dump_json()}}}\n")
            await asyncio.sleep(PROGRESS_SECONDS)

    def all_live(self) -> bool:
        """Whether every run has a pod at work."""
        return {work.run for work in self.at_work.values()} == set(self.names)

    def all_over(self) -> bool:
        """Whether every pod of every run has ended; preflight's is one."""
        return all(self._ended[name] == 1 + len(ORDER) - len(self._sealed[name]) for name in self.names)

    def end_one(self) -> None:
        """End a pod at work, of any run, if there is one."""
        if going := [work for work in self.at_work.values() if not work.over.is_set()]:
            self._random.choice(going).over.set()

    def hurry(self) -> None:
        """Let every run go to its end as fast as it can."""
        self._hurries = True
        for work in self.at_work.values():
            work.over.set()

    def _last_word(self, run: str, task: Task) -> str:
        word = Termination.model_validate_json(last_word(task))
        if word.inputs:
            found = {stage: sha256(f"{run} {stage}".encode()).hexdigest() for stage in self._sealed[run]}
            word = word.model_copy(update={"sealed": found})
        return word.model_dump_json(by_alias=True, exclude_defaults=True)
