"""What the workers of these tests do to a store that lives in memory: shards, seals, and a count of every piece of work.

The rules are the store's own: a shard is committed once, a stage is sealed when all its shards are, a seal that is there is found.
"""

import hashlib
from collections import Counter
from functools import lru_cache

from rehearsal.api.messages import ExitCode, Progress, Termination
from rehearsal.api.task import Task
from rehearsal.cluster.job_status import index_of
from rehearsal.cluster.port import Manifest
from rehearsal.manifests.pod import TASK_ANNOTATION
from rehearsal.pipeline.fingerprint import fingerprints
from rehearsal.pipeline.sources import external_inputs
from rehearsal.pipeline.stage import Kind, Stage
from rehearsal.pipeline.stages import stages_of
from tests.faults.node import Ended

SHARDS = {"elicit": 2, "train": 2}
"""Pieces of work of a kind of stage, where there is more than one."""


class Artifacts:
    """A store and the worker on it. `work` counts every piece done, by stage and fingerprint: no number may exceed one."""

    def __init__(self) -> None:
        self.work: Counter[tuple[str, str, int]] = Counter()
        self.seals: dict[str, str] = {}
        self.endings: dict[str, list[Ended]] = {}
        """By stage: how its next pods end: with another code before they did anything, with code 0 after their work."""
        self.rounds_needed = 1
        self.slow: set[str] = set()
        """Stages whose pods run and get nothing done."""

    def fork(self) -> "Artifacts":
        twin = Artifacts()
        twin.work, twin.seals, twin.rounds_needed, twin.slow = (
            Counter(self.work),
            dict(self.seals),
            self.rounds_needed,
            set(self.slow),
        )
        twin.endings = {stage: list(endings) for stage, endings in self.endings.items()}
        return twin

    def worker(self, pod: Manifest) -> Ended | None:
        """Do the next piece of a pod's work."""
        task, stage, known = _told(pod["metadata"]["annotations"][TASK_ANNOTATION])
        if stage is None:
            return self._ends(task.stage, self._preflight(task))
        if task.stage in self.slow:
            return None
        if stage.nodes > 1 and index_of(pod) > 0:  # it trains along; the first one seals, and says so
            return Ended(ExitCode.DONE) if known[stage.name] in self.seals else None
        if self._forced(task.stage, dies=True):
            return self.endings[task.stage].pop(0)
        fingerprint = known[stage.name]
        assert fingerprint == task.fingerprint, "the operator and the worker disagree on a fingerprint"
        if fingerprint not in self.seals:
            if missing := [name for name in _read(task, stage) if known[name] not in self.seals]:
                word = Termination(reason="SealMissing", message=f"{missing[0]} is gone", void=missing[0])
                return Ended(ExitCode.CORRUPT_INPUT, word)
            if stage.kind is Kind.SELECT and task.rounds < self.rounds_needed:
                return Ended(ExitCode.DONE, Termination(another_round=task.rounds + 1))
            if self._commits(stage, fingerprint) < shards_of(stage):
                return None
            self.seals[fingerprint] = digest_of(fingerprint)
        word = Termination(fingerprint=fingerprint, manifest_digest=self.seals[fingerprint], rows=100)
        return self._ends(task.stage, Ended(ExitCode.DONE, word))

    def log(self, pod: Manifest) -> str:
        """The log of a pod: the latest line of progress."""
        _, stage, known = _told(pod["metadata"]["annotations"][TASK_ANNOTATION])
        if stage is None:
            return ""
        figures = Progress(done=self._committed(stage, known[stage.name]), total=shards_of(stage), unit="shards")
        return f'{{"progress": {figures.model_dump_json(by_alias=True)}}}\n'

    def _commits(self, stage: Stage, fingerprint: str) -> int:
        done = self._committed(stage, fingerprint)
        self.work[stage.name, fingerprint, done] += 1
        return done + 1

    def _committed(self, stage: Stage, fingerprint: str) -> int:
        return sum((stage.name, fingerprint, shard) in self.work for shard in range(shards_of(stage)))

    def _preflight(self, task: Task) -> Ended:
        inputs = {name: digest_of(uri) for name, uri in external_inputs(task.spec).items()}
        known = fingerprints(stages_of(task.spec, task.rounds), inputs)
        sealed = {name: self.seals[fingerprint] for name, fingerprint in known.items() if fingerprint in self.seals}
        return Ended(ExitCode.DONE, Termination(inputs=inputs, sealed=sealed))

    def _ends(self, stage: str, ending: Ended) -> Ended:
        """The ending that was written for this pod, or the one it came to."""
        return self.endings[stage].pop(0) if self._forced(stage, dies=False) else ending

    def _forced(self, stage: str, *, dies: bool) -> bool:
        """Whether an ending is written for the next pod of a stage: one that dies before its work, or one that ends well."""
        forced = self.endings.get(stage)
        return bool(forced) and (forced[0].code != ExitCode.DONE) == dies


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def shards_of(stage: Stage) -> int:
    return SHARDS.get(stage.kind, 1)


def _read(task: Task, stage: Stage) -> list[str]:
    """The stages that a stage's program reads: select, every round so far."""
    later = [other.name for other in stages_of(task.spec, task.rounds) if other.round > 1] if stage.kind is Kind.SELECT else []
    return [*stage.inputs.values(), *later]


@lru_cache(maxsize=4096)
def _told(text: str) -> tuple[Task, Stage | None, dict[str, str]]:
    """A task, its stage in the table (preflight has none), and every stage's fingerprint."""
    task = Task.model_validate_json(text)
    if task.fingerprint is None:
        return task, None, {}
    stages = stages_of(task.spec, task.rounds)
    return task, next(stage for stage in stages if stage.name == task.stage), fingerprints(stages, task.inputs)
