"""Stages whose pods work and get nothing done. Pure.

How long a unit may take is told by the stage itself: by the pace of what it has done. A stage that tells no figures (mix, select,
report) is not judged, nor is evaluation, whose unit is a whole benchmark.
"""

from datetime import datetime, timedelta

from rehearsal.api.status import StageStatus, State
from rehearsal.controller.jobs import JobState, JobView
from rehearsal.controller.why import Why

USUAL = timedelta(minutes=30)
"""The least time that a unit may take once some are done: an answer of 32,000 tokens takes less, and so does a checkpoint."""
FIRST = timedelta(hours=1)
"""The least time that the first one of a pod may take: the ranks load their model, and long answers end together."""
LAST = timedelta(hours=3)
"""What is left when all is done: a model of 140 GB is exported and stored."""
TIMES_SLOWER = 4
"""A unit may take so many times as long as one did on average."""
UNJUDGED = ("tasks",)


def motionless(entry: StageStatus | None, job: JobView, now: datetime) -> Why | None:
    """Return since when nothing more was done by a Job's pods at work, once that is too long; `entry`: what was recorded of it."""
    if job.state is not JobState.RUNNING or job.working_since is None or entry is None or entry.state is not State.RUNNING:
        return None
    if entry.job != job.name or not entry.total or entry.unit in UNJUDGED or (job.progress and job.progress.done > entry.done):
        return None
    since = max(job.working_since, entry.moved_at or job.working_since)
    allowed = _allowed(entry, moved=since != job.working_since)
    if now - datetime.fromisoformat(since) < allowed:
        return None
    words = f"{entry.done} of {entry.total} {entry.unit} are done since {since}, and none within {_minutes(allowed)} min"
    return Why("NoProgress", f"{words}: look at the log of {job.at}; a pod that is deleted is replaced")


def _allowed(entry: StageStatus, *, moved: bool) -> timedelta:
    if entry.done >= entry.total:
        return LAST
    if not (entry.done and entry.moved_at and entry.started_at):
        return FIRST
    least = USUAL if moved else FIRST
    each = (datetime.fromisoformat(entry.moved_at) - datetime.fromisoformat(entry.started_at)) / entry.done
    return max(least, TIMES_SLOWER * each)


def _minutes(time: timedelta) -> int:
    return int(time.total_seconds() // 60)
