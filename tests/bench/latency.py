"""From a Job's completion to the next Job's creation, as one watch on Jobs sees both."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean, quantiles

from tests.bench.fleet import READS
from tests.control.access import Manifest
from tests.control.api import Api


@dataclass(frozen=True)
class Transition:
    """A Job's creation. `seconds`: since the last completion that it waited for; `by_server`: the same by whole-second stamps."""

    seen_at: float
    seconds: float
    by_server: float


@dataclass(frozen=True)
class _Completion:
    seen_at: float | None
    stamp: datetime


class Transitions:
    """Watches the Jobs of a namespace; `run` for ever.

    An API server ends the watch of a reader that cannot keep up. What then comes in a list was seen too late, and counts for nothing.
    """

    def __init__(self, api: Api, namespace: str) -> None:
        self._api, self._path = api, f"/apis/batch/v1/namespaces/{namespace}/jobs"
        self._completed: dict[tuple[str, str], _Completion] = {}
        self._created: set[str] = set()
        self._found: list[Transition] = []

    async def run(self) -> None:
        """Follow the watch, and begin a new one where it ends."""
        while True:
            listed = 0
            async for change, job in self._api.watch(self._path):
                if change == "LIST":
                    listed = len(job["items"])
                    for item in job["items"]:
                        self._complete(item, None)
                elif change in ("ADDED", "MODIFIED"):
                    now = time.monotonic() if listed <= 0 else None
                    self._complete(job, now)
                    self._create(job, now)
                    listed -= 1

    def since(self, moment: float) -> list[Transition]:
        """Return the transitions that were seen since then."""
        return [transition for transition in self._found if transition.seen_at >= moment]

    @property
    def jobs(self) -> int:
        """How many Jobs were ever seen."""
        return len(self._created)

    def _create(self, job: Manifest, now: float | None) -> None:
        metadata, (run, stage) = job["metadata"], _of(job)
        if metadata["uid"] in self._created:
            return
        self._created.add(metadata["uid"])
        if now is None or stage == "preflight":
            return
        read = [self._completed[run, name] for name in READS[stage] if (run, name) in self._completed]
        before = read or [self._completed[run, "preflight"]]
        seen = [completion.seen_at for completion in before if completion.seen_at is not None]
        if len(seen) == len(before):
            by_server = datetime.fromisoformat(metadata["creationTimestamp"]) - max(completion.stamp for completion in before)
            self._found.append(Transition(now, now - max(seen), by_server.total_seconds()))

    def _complete(self, job: Manifest, now: float | None) -> None:
        status = job.get("status", {})
        if _of(job) not in self._completed and any(
            condition["type"] == "Complete" and condition["status"] == "True" for condition in status.get("conditions", [])
        ):
            self._completed[_of(job)] = _Completion(now, datetime.fromisoformat(status["completionTime"]))


def _of(job: Manifest) -> tuple[str, str]:
    """The run and the stage of a Job."""
    labels = job["metadata"]["labels"]
    return labels["rehearsal.dev/run"], labels["rehearsal.dev/stage"]


@dataclass(frozen=True)
class Summary:
    """Seconds. `skew`: by how much the mean by the API server's own stamps is more than the mean seen by the watch."""

    count: int
    p50: float
    p99: float
    longest: float
    skew: float


def summary(transitions: Sequence[Transition]) -> Summary:
    """Return the percentiles, those of at least two transitions."""
    seconds = [transition.seconds for transition in transitions]
    percentiles = quantiles(seconds, n=100, method="inclusive")
    skew = fmean(transition.by_server for transition in transitions) - fmean(seconds)
    return Summary(len(seconds), percentiles[49], percentiles[98], max(seconds), skew)
