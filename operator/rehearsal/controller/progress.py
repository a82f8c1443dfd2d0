"""How far a run is: percent, time left, the one line of a table, and how often figures are worth a write. Pure."""

from datetime import datetime, timedelta

from rehearsal.api.status import RunStatus, State
from rehearsal.controller.ledger import moment, seconds, stamp

WEIGHTS = {"elicit": 10, "respond": 15, "judge": 25, "train": 30, "evaluate": 10}
"""Rough shares of a run's work, for one figure of progress; every other stage counts as one."""


def measured(status: RunStatus, now: datetime) -> RunStatus:
    """Return the status with its percent of weighted work done, and when the rest would end at the pace so far."""
    done = whole = 0.0
    for stage in status.stages:
        weight = WEIGHTS.get(stage.name.partition("-")[0], 1)
        whole += weight
        share = 1.0 if stage.state.done else (stage.done / stage.total if stage.total else 0.0)
        done += weight * min(share, 1.0)
    percent = int(100 * done / whole) if whole else 0
    left = _seconds_left(status, percent, now)
    eta = stamp(now + timedelta(seconds=left)) if left is not None else None
    figures = {"progress": percent, "eta": eta, "remaining": in_words(left), "summary": summary(status)}
    return status.model_copy(update=figures)


def summary(status: RunStatus) -> str:
    """Return what is going on in a few words: the stages at work, or those that wait."""
    running = [stage.name for stage in status.stages if stage.state is State.RUNNING]
    waiting = [stage.name for stage in status.stages if stage.state is State.WAITING]
    if failed := [stage.name for stage in status.stages if stage.state is State.FAILED]:
        return f"{failed[0]}: Failed"
    if running:
        return _listed(running)
    return f"{_listed(waiting)}: Waiting" if waiting else ""


def _listed(names: list[str]) -> str:
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")


def in_words(left: float | None) -> str:
    """Return a time left as Kubernetes writes durations: 45s, 12m, 3h20m, 2d4h."""
    if left is None:
        return ""
    minutes, hours, days = int(left // 60), int(left // 3600), int(left // 86_400)
    if days:
        return f"{days}d{hours % 24}h"
    if hours:
        return f"{hours}h{minutes % 60}m"
    return f"{minutes}m" if minutes else f"{int(left)}s"


def _seconds_left(status: RunStatus, percent: int, now: datetime) -> float | None:
    """An estimate from the pace since the first stage of this run started; none before a twentieth is done."""
    starts = [stage.started_at for stage in status.stages if stage.started_at and stage.state is not State.REUSED]
    if not starts or not 5 <= percent < 100:
        return None
    elapsed = seconds(min(starts, key=moment), None, now)
    return elapsed * (100 - percent) / percent


def throttled(before: RunStatus, after: RunStatus, every: float, now: datetime) -> RunStatus:
    """Return what to write: where only figures moved, and figures were written a moment ago, what is there already."""
    if _without_figures(before) != _without_figures(after):
        return after.model_copy(update={"progress_at": stamp(now)})
    if before.progress_at and 0 <= (now - moment(before.progress_at)).total_seconds() < every:
        return before
    still = {"progress_at": after.progress_at, "eta": after.eta, "remaining": after.remaining}
    same = before.model_copy(update=still) == after
    return before if same else after.model_copy(update={"progress_at": stamp(now)})


def _without_figures(status: RunStatus) -> RunStatus:
    still = {"done": 0, "total": 0, "per_second": 0.0, "tokens_per_second": 0.0, "unit": "", "disrupted": 0}
    stages = [stage.model_copy(update=still) if stage.state is State.RUNNING else stage for stage in status.stages]
    return status.model_copy(update={"stages": stages, "progress": 0, "eta": None, "remaining": "", "progress_at": None})
