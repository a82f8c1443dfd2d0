"""What a stage program works with: its task, its place in the stage table, the store, and where its output goes."""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path

from rehearsal.api.messages import Progress, Refused, Usage
from rehearsal.api.reconstruction import Reconstructed
from rehearsal.api.run import RunSpec
from rehearsal.api.task import Task
from rehearsal.outside.text import shown
from rehearsal.pipeline.fingerprint import fingerprints
from rehearsal.pipeline.sources import external_inputs
from rehearsal.pipeline.stage import MAX_ROUNDS, ROWS_PER_SHARD, Stage
from rehearsal.pipeline.stages import stages_of
from rehearsal.store.commit import Artifact, Manifest
from rehearsal.store.objects import Objects

LONGEST_LINE = 4000


@dataclass(frozen=True)
class Outcome:
    """What a stage program returns: the seal it made or found, and what a person should know of it; or the round that select needs next."""

    manifest: Manifest | None
    usage: Usage = field(default_factory=Usage)
    another_round: int | None = None
    warning: str = ""


@dataclass
class Context:
    """A stage program's view of the run. `scratch` is private to the pod; `model_dir` holds the stage's model."""

    task: Task
    objects: Objects
    scratch: Path
    model_dir: Path
    slot: int = 0

    _last_line: float = float("-inf")

    @cached_property
    def stages(self) -> Mapping[str, Stage]:
        """The run's stage table, by name, with every round that there may be."""
        return {stage.name: stage for stage in stages_of(self.task.spec, MAX_ROUNDS)}

    @cached_property
    def fingerprints(self) -> Mapping[str, str]:
        """Every stage's fingerprint; this stage's is the one that was ordered, or operator and worker differ."""
        known = fingerprints(tuple(self.stages.values()), self.task.inputs)
        if known[self.task.stage] != self.task.fingerprint:
            raise Refused("operator and worker disagree on the stage table: use images of the same release", "ReleaseMismatch")
        return known

    @property
    def spec(self) -> RunSpec:
        """The run's spec."""
        return self.task.spec

    @property
    def stage(self) -> Stage:
        """The stage that this program carries out."""
        return self.stages[self.task.stage]

    @property
    def output(self) -> Artifact:
        """Where this stage's shards, files and seal go."""
        return self.artifact(self.task.stage)

    def input(self, label: str) -> Artifact:
        """Return the sealed output of the stage read under that label."""
        return self.artifact(self.stage.inputs[label])

    def artifact(self, stage: str) -> Artifact:
        """Return the place of any stage's output; what is read there must have the seal that the operator recorded."""
        kind, fingerprint = self.stages[stage].kind, self.fingerprints[stage]
        return Artifact(self.objects, self.task.namespace, kind, fingerprint, stage, pinned=self.task.seals.get(stage))

    def external(self, label: str) -> tuple[str, str]:
        """Return (URI, pinned digest) of the external input read under that label."""
        name = self.stage.external[label]
        return external_inputs(self.spec)[name], self.task.inputs[name]

    def commit_rows(self, rows: Iterable[Mapping[str, object]], refused: Counter[str], per_shard: int = ROWS_PER_SHARD) -> int:
        """Commit an output shard by shard as its rows come, and hold no more of it; return the number of shards, at least one.

        `refused` is counted by whoever makes the rows. Each shard carries what was refused while it was filled.
        """
        remaining, counted, shards = iter(rows), Counter[str](), 0
        batch = list(islice(remaining, per_shard))
        while batch or not shards:
            following = list(islice(remaining, per_shard))  # first: what is refused after the last row is its shard's
            self.output.commit_shard(shards, batch, dict(sorted((refused - counted).items())))
            batch, counted, shards = following, refused.copy(), shards + 1
        return shards

    def progress(self, done: int, total: int, unit: str = "rows", per_second: float = 0.0, tokens_per_second: float = 0.0) -> None:
        """Print one progress line, unless one was printed a moment ago and this is not the last one."""
        now = time.monotonic()
        if done < total and now - self._last_line < self.task.limits.progress_seconds:
            return
        self._last_line = now
        _print(
            Progress(
                done=done, total=total, unit=unit, per_second=round(per_second, 2), tokens_per_second=round(tokens_per_second, 1)
            )
        )

    def leave(self, done: int, total: int, dropped: int) -> None:
        """Print the last progress line of a worker that is told to end, with how many rows in the making are lost."""
        _print(Progress(done=done, total=total, dropped=dropped))


def _print(progress: Progress) -> None:
    print(json.dumps({"progress": progress.wire()}), flush=True)


def reconstruction(spec: RunSpec) -> Reconstructed:
    """Return what a run reconstructs; stages that read it are only in the table of a run that does."""
    if spec.reconstructed is None:
        raise Refused("the run reconstructs nothing: this stage is not one of its own", "ReleaseMismatch")
    return spec.reconstructed


def log(text: str) -> None:
    """Write one plain line for a person to standard error. Never model text."""
    print(shown(text, LONGEST_LINE), file=sys.stderr, flush=True)


def slot_of_pod() -> int:
    """Return this pod's index in its Indexed Job."""
    return int(os.environ.get("JOB_COMPLETION_INDEX", "0"))
