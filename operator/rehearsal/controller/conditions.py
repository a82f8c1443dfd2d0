"""The conditions of a run, and its progress: native Job names for `kubectl wait`, kstatus names for GitOps tools. Pure."""

from datetime import datetime, timedelta

from rehearsal.api.status import Condition, RunStatus, StageStatus, State
from rehearsal.controller.ledger import moment, seconds, stamp
from rehearsal.controller.observe import Run

TYPES = ("Complete", "Failed", "Suspended", "Ready", "Reconciling", "Stalled")

WEIGHTS = {"elicit": 10, "respond": 15, "judge": 25, "train": 30, "evaluate": 10}
"""Rough shares of a run's work, for one figure of progress; every other stage counts as one."""


def refused(status: RunStatus, run: Run, message: str, now: datetime) -> RunStatus:
    """The spec cannot be carried out as it is written."""
    return _set(status, run, {"Failed", "Stalled"}, "Refused", message, now)


def suspended(status: RunStatus, run: Run, now: datetime) -> RunStatus:
    """Nothing runs until `spec.suspend` is false again."""
    return _set(idle(status), run, {"Suspended"}, "Suspended", "spec.suspend is true", now)


def idle(status: RunStatus) -> RunStatus:
    """Return the status of a run whose live Jobs are stopped."""
    stages = [
        stage.model_copy(update={"state": State.PENDING, "message": ""}) if _moving(stage) else stage for stage in status.stages
    ]
    return status.model_copy(update={"stages": stages})


def of_run(status: RunStatus, run: Run, now: datetime, pinned: bool) -> RunStatus:
    """Return the status with its conditions and progress, as its stages tell. `pinned`: preflight has answered."""
    status = _progress(status, now)
    failed = [stage for stage in status.stages if stage.state is State.FAILED]
    moving = [stage for stage in status.stages if _moving(stage)]
    if failed and not moving:
        return _set(status, run, {"Failed", "Stalled"}, "StageFailed", f"{failed[0].name}: {failed[0].message}", now)
    if pinned and all(stage.state.done for stage in status.stages):
        ran = [stage.name for stage in status.stages if stage.state is State.SUCCEEDED]
        return _set(
            status, run, {"Complete", "Ready"}, "Complete", f"{len(ran)} of {len(status.stages)} stages ran for this run", now
        )
    words = ", ".join(stage.name for stage in moving) or "next stage"
    return _set(status, run, {"Reconciling"}, "Running", words, now)


def _moving(stage: StageStatus) -> bool:
    return stage.state in (State.RUNNING, State.WAITING)


def _set(status: RunStatus, run: Run, true: set[str], reason: str, message: str, now: datetime) -> RunStatus:
    """Set all conditions at once; a transition time changes only with its status."""
    found = []
    for name in TYPES:
        value, before = str(name in true), status.condition(name)
        since = before.last_transition_time if before and before.status == value else stamp(now)
        found.append(
            Condition(
                type=name,
                status=value,
                reason=reason,
                message=message[:1024],
                last_transition_time=since,
                observed_generation=run.generation,
            )
        )
    return status.model_copy(update={"conditions": found, "observed_generation": run.generation})


def _progress(status: RunStatus, now: datetime) -> RunStatus:
    """Percent of the weighted stages done, and when the rest would end at the pace so far."""
    done = whole = 0.0
    for stage in status.stages:
        weight = WEIGHTS.get(stage.name.partition("-")[0], 1)
        whole += weight
        share = 1.0 if stage.state.done else (stage.done / stage.total if stage.total else 0.0)
        done += weight * min(share, 1.0)
    percent = int(100 * done / whole) if whole else 0
    return status.model_copy(update={"progress": percent, "eta": _eta(status, percent, now)})


def _eta(status: RunStatus, percent: int, now: datetime) -> str | None:
    """An estimate from the pace since the first stage of this run started; none before a twentieth is done."""
    starts = [stage.started_at for stage in status.stages if stage.started_at and stage.state is not State.REUSED]
    if not starts or not 5 <= percent < 100:
        return None
    elapsed = seconds(min(starts, key=moment), None, now)
    return stamp(now + timedelta(seconds=elapsed * (100 - percent) / percent))


def throttled(before: RunStatus, after: RunStatus, every: float, now: datetime) -> RunStatus:
    """Return what to write: where only figures moved, and figures were written a moment ago, what is there already."""
    if _without_figures(before) != _without_figures(after):
        return after.model_copy(update={"progress_at": stamp(now)})
    if before.progress_at and 0 <= (now - moment(before.progress_at)).total_seconds() < every:
        return before
    same = before.model_copy(update={"progress_at": after.progress_at, "eta": after.eta}) == after
    return before if same else after.model_copy(update={"progress_at": stamp(now)})


def _without_figures(status: RunStatus) -> RunStatus:
    still = {"done": 0, "total": 0, "per_second": 0.0, "tokens_per_second": 0.0, "unit": ""}
    stages = [stage.model_copy(update=still) if stage.state is State.RUNNING else stage for stage in status.stages]
    return status.model_copy(update={"stages": stages, "progress": 0, "eta": None, "progress_at": None})
