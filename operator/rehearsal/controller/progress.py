"""How far a run is: percent, time left, the one line of a table, and how often figures are worth a write. Pure."""

from datetime import datetime, timedelta

from rehearsal.api.status import RunStatus, StageStatus, State
from rehearsal.controller.ledger import moment, stamp

WEIGHTS = {"elicit": 10, "respond": 15, "judge": 25, "train": 30, "evaluate": 10}
"""Rough shares of a run's work, for one figure of progress; every other stage counts as one."""
WIDTH = 128
"""The most characters that the status takes for its one line."""


def measured(status: RunStatus, now: datetime) -> RunStatus:
    """Return the status with its percent of weighted work done, and when the rest would end at the pace so far."""
    whole = sum(_weight(stage) for stage in status.stages)
    done = whole - sum(_weight(stage) * _open_share(stage) for stage in status.stages)
    percent = int(100 * done / whole) if whole else 0
    left = _seconds_left(status)
    eta = stamp(now + timedelta(seconds=left)) if left is not None else None
    figures = {"progress": percent, "eta": eta, "remaining": in_words(left), "summary": summary(status)}
    return status.model_copy(update=figures)


def summary(status: RunStatus) -> str:
    """Return what is going on in a few words: the stages at work, and those that wait."""
    running = [stage.name for stage in status.stages if stage.state is State.RUNNING]
    waiting = [stage.name for stage in status.stages if stage.state is State.WAITING]
    if failed := [stage.name for stage in status.stages if stage.state is State.FAILED]:
        return f"{failed[0]}: Failed"
    if running:
        return _beside(_listed(running), [stage.name for stage in status.stages if held_up(stage)])
    return f"{_listed(waiting)}: Waiting" if waiting else ""


def held_up(stage: StageStatus) -> bool:
    """Return whether a stage waits and it is known what for: a Job that was made a moment ago has no words yet."""
    return stage.state is State.WAITING and bool(stage.message)


def _beside(running: str, held: list[str]) -> str:
    """Add the stages that wait beside those at work; where the names are too long, how many there are."""
    if not held:
        return running
    words = f"{running}; {_listed(held)}: Waiting"
    return words if len(words) <= WIDTH else f"{running}; {len(held)} more: Waiting"


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


def _seconds_left(status: RunStatus) -> float | None:
    """An estimate: the open work at the pace of the stages that run now. None while none of them tells its pace."""
    running = [stage for stage in status.stages if stage.state is State.RUNNING and stage.total]
    pace = sum(_weight(stage) * stage.per_second / stage.total for stage in running)
    left = sum(_weight(stage) * _open_share(stage) for stage in status.stages)
    return left / pace if pace else None


def _weight(stage: StageStatus) -> int:
    return WEIGHTS.get(stage.kind, 1)


def _open_share(stage: StageStatus) -> float:
    """Return how much of a stage is left to do, between 0 and 1."""
    if stage.state.done:
        return 0.0
    return 1.0 - min(stage.done / stage.total, 1.0) if stage.total else 1.0


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
    still = {"done": 0, "total": 0, "per_second": 0.0, "tokens_per_second": 0.0, "unit": "", "disrupted": 0, "moved_at": None}
    stages = [stage.model_copy(update=still) if stage.state is State.RUNNING else stage for stage in status.stages]
    return status.model_copy(update={"stages": stages, "progress": 0, "eta": None, "remaining": "", "progress_at": None})
