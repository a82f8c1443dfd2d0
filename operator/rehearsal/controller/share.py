"""Two runs that need the same stage: one Job works, the other run waits for it and reads its result. Pure.

Duplicated work is waste, never an error: a claim is a courtesy, and nobody waits for ever.
"""

from collections.abc import Iterable
from datetime import datetime

from rehearsal.controller.jobs import JobState, JobView
from rehearsal.controller.ledger import moment

PODLESS_SECONDS = 600
"""A Job that got no pod for this long holds nobody else back."""


def owner(fingerprint: str, mine: JobView | None, rivals: Iterable[JobView], now: datetime) -> JobView | None:
    """Return the other run's Job that this run should wait for, if there is one.

    A Job of ours whose pods have started is not given up. One that still waits for a pod is, for a Job that works or is older.
    """
    if mine and mine.state is not JobState.WAITING:
        return None
    others = [job for job in rivals if job.fingerprint == fingerprint and _promising(job, now)]
    if mine:
        others = [job for job in others if job.state is JobState.RUNNING or _age(job) < _age(mine)]
    return min(others, key=_age, default=None)


def result(fingerprint: str, rivals: Iterable[JobView]) -> JobView | None:
    """Return another run's Job that has sealed this stage, if one was seen to."""
    done = (job for job in rivals if job.fingerprint == fingerprint and job.state is JobState.COMPLETE)
    return next((job for job in done if job.seal), None)


def _promising(job: JobView, now: datetime) -> bool:
    if not job.state.live or job.deleting:
        return False
    return job.state is JobState.RUNNING or (now - moment(job.created_at)).total_seconds() < PODLESS_SECONDS


def _age(job: JobView) -> tuple[str, str]:
    """Oldest first; of the same second, by UID, so that both runs see the same order."""
    return job.created_at, job.uid
