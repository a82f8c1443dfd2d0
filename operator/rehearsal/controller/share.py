"""Two runs that need the same stage: one Job works, the other run waits for it and reads its result. Pure.

Duplicated work is waste, never an error. A run waits for another one's Job while that Job can be expected to work first.
"""

from collections.abc import Iterable
from datetime import datetime

from rehearsal.controller.jobs import JobState, JobView
from rehearsal.controller.ledger import moment

PODLESS_SECONDS = 600
"""A Job that may have pods and got none for this long holds nobody else back."""


def owner(
    fingerprint: str, execution: str, mine: JobView | None, done: int, rivals: Iterable[JobView], now: datetime
) -> JobView | None:
    """Return the other run's Job that this run should wait for, if there is one.

    `execution`: the digest of how this run would carry out the stage. `mine`: its own Job, `done`: what that is known to have
    committed. A Job that waits for a pod is given up for one that works or is older; one that works, for an older one that works
    too, and only while it has committed nothing.
    """
    others = [job for job in rivals if job.fingerprint == fingerprint and _promising(job, execution, now)]
    if mine and mine.state is JobState.WAITING:
        others = [job for job in others if job.state is JobState.RUNNING or _age(job) < _age(mine)]
    elif mine:
        starting = mine.state is JobState.RUNNING and not done
        others = [job for job in others if starting and job.state is JobState.RUNNING and _age(job) < _age(mine)]
    return min(others, key=_age, default=None)


def result(fingerprint: str, rivals: Iterable[JobView]) -> JobView | None:
    """Return another run's Job that has sealed this stage, if one was seen to."""
    done = (job for job in rivals if job.fingerprint == fingerprint and job.state is JobState.COMPLETE)
    return next((job for job in done if job.seal), None)


def _promising(job: JobView, execution: str, now: datetime) -> bool:
    """Whether a Job works, or is as near to working as a new one would be.

    Kueue admits the older of two Jobs that ask one LocalQueue for the same, so a place in the queue is kept without a limit of time.
    """
    if not job.state.live or job.deleting or job.stuck:
        return False
    if job.state is JobState.RUNNING or (job.queue and job.execution == execution):
        return True
    since = max(moment(job.created_at), moment(job.activated_at or job.created_at))
    return (now - since).total_seconds() < PODLESS_SECONDS


def _age(job: JobView) -> tuple[str, str]:
    """Oldest first; of the same second, by UID, so that both runs see the same order."""
    return job.created_at, job.uid
