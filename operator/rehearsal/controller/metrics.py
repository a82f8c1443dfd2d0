"""What the operator counts, for Prometheus. Kinds, verbs and states are labels; names of runs, people and models never are."""

from collections import Counter as Tally
from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

import rehearsal
from rehearsal.api.status import RunStatus, StageStatus, State
from rehearsal.controller.ledger import moment, seconds
from rehearsal.controller.queue import Key

STANDS: tuple[str, ...] = ("Complete", "Failed", "Suspended", "Stalled", "Reconciling")
"""A run counts under the first of these conditions that is true, or under Unknown."""
ENDS = frozenset({State.SUCCEEDED, State.REUSED, State.FAILED})
_VISIT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_STAGE_BUCKETS = (10, 30, 60, 300, 900, 1800, 3600, 7200, 14_400, 28_800, 86_400, 259_200)


class Metrics:
    """The operator's figures, in a registry of their own."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        Info("rehearsal_build", "The running release.", registry=registry).info({"version": rehearsal.__version__})
        self._visits = Counter("rehearsal_reconciles", "Visits of a run, by result.", ["result"], registry=registry)
        self._visit_seconds = Histogram(
            "rehearsal_reconcile_seconds", "Duration of a visit of a run.", buckets=_VISIT_BUCKETS, registry=registry
        )
        self._errors = Counter("rehearsal_errors", "Errors of visits and sweeps, by kind.", ["kind"], registry=registry)
        self._api = Counter(
            "rehearsal_api_calls", "Requests to the API server; code 0: no answer.", ["verb", "kind", "code"], registry=registry
        )
        self._sweep_seconds = Histogram(
            "rehearsal_sweep_seconds", "Duration of a complete sweep.", buckets=_VISIT_BUCKETS, registry=registry
        )
        self._sweep_age = Gauge("rehearsal_sweep_age_seconds", "Time since the last complete sweep.", registry=registry)
        self._depth = Gauge("rehearsal_queue_depth", "Runs that are due and not yet looked at.", registry=registry)
        self._runs = Gauge("rehearsal_runs", "Runs, by how they stand.", ["condition"], registry=registry)
        self._stages = Counter("rehearsal_stages", "Stages that ended, by how.", ["kind", "state"], registry=registry)
        self._stage_seconds = Histogram(
            "rehearsal_stage_seconds", "Duration of stages that ran.", ["kind"], buckets=_STAGE_BUCKETS, registry=registry
        )
        self._gpu = Counter("rehearsal_gpu_seconds", "GPU-seconds of stages that ended.", ["kind"], registry=registry)
        self._stands: dict[Key, str] = {}

    def page(self) -> bytes:
        """Return everything in Prometheus' text format."""
        for condition, count in (dict.fromkeys((*STANDS, "Unknown"), 0) | Tally(self._stands.values())).items():
            self._runs.labels(condition).set(count)
        return generate_latest(self.registry)

    def visited(self, result: str, seconds: float) -> None:
        """Count a visit."""
        self._visits.labels(result).inc()
        self._visit_seconds.observe(seconds)

    def error(self, kind: str) -> None:
        """Count an error."""
        self._errors.labels(kind).inc()

    def api_call(self, verb: str, kind: str, code: int) -> None:
        """Count a request to the API server."""
        self._api.labels(verb, kind, str(code)).inc()

    def swept(self, seconds: float) -> None:
        """Count a complete sweep."""
        self._sweep_seconds.observe(seconds)

    def sweep_age(self, age: Callable[[], float]) -> None:
        """Take the sweep's age from there."""
        self._sweep_age.set_function(age)

    def queue_depth(self, depth: Callable[[], int]) -> None:
        """Take the queue's depth from there."""
        self._depth.set_function(depth)

    def gone(self, key: Key) -> None:
        """Forget a run."""
        self._stands.pop(key, None)

    def recorded(self, key: Key, before: RunStatus, after: RunStatus) -> None:
        """Count what changed with a status that was written: every end of a stage is told by exactly one such pair."""
        self._stands[key] = next((type_ for type_ in STANDS if _is(after, type_)), "Unknown")
        for stage in after.stages:
            if stage.state in ENDS and not _same_end(before.stage(stage.name), stage):
                self._ended(stage)

    def _ended(self, stage: StageStatus) -> None:
        kind = stage.kind
        self._stages.labels(kind, stage.state).inc()
        if stage.state is State.REUSED:
            return
        self._gpu.labels(kind).inc(stage.gpu_seconds)
        if stage.started_at and stage.finished_at:
            self._stage_seconds.labels(kind).observe(seconds(stage.started_at, stage.finished_at, moment(stage.finished_at)))


def _is(status: RunStatus, type_: str) -> bool:
    condition = status.condition(type_)
    return condition is not None and condition.status == "True"


def _same_end(before: StageStatus | None, after: StageStatus) -> bool:
    """Whether the entry is the end that was recorded before: the same attempt at the same output ended in the same way."""
    return before is not None and all(
        getattr(before, field) == getattr(after, field) for field in ("state", "fingerprint", "attempt")
    )
