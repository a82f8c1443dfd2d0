"""Attempts of a stage whose pods train together: each is a Job of its own, and here is said which follows which, and when. Pure.

Kubernetes replaces single pods. Ranks that have lost one start over together, and only when no pod of before is left: it would
answer to the name of a new one. A failure counts against the platform's `backoffLimit`; a drain or preemption does not, nor does
an attempt that ended because a pod of it had no place: the run waits for room, as it does with one node.
"""

import hashlib
from datetime import datetime

from rehearsal.api.messages import FATAL, NODES_MISSING
from rehearsal.api.status import Retries, StageStatus, State
from rehearsal.controller import ledger
from rehearsal.controller.jobs import JobState, JobView
from rehearsal.controller.ledger import moment
from rehearsal.manifests.pod import DISRUPTED

FIRST_PAUSE, LONGEST_PAUSE = 10.0, 360.0
"""Seconds between attempts, doubled each time: the Job controller's own between pods."""
JITTER = 0.5
"""Up to this share is added to a pause: runs that gave up a node each at the same moment do not ask for both again at the same moment."""
ENDED_BY_PODS = ("BackoffLimitExceeded", "PodFailurePolicy")
"""Reasons of a Job's failure after which another may do better; not so the deadline."""


def followed(before: StageStatus, after: StageStatus, job: JobView | None, limit: int) -> StageStatus:
    """Return a stage's entry with its attempts counted: one that failed, and may do better, is ready for the next.

    `before` and `after` the Job was looked at; `limit`: failures that cost nothing but time.
    """
    if job is None or not job.whole or before.state is State.FAILED:
        return after
    so_far = after.retries or Retries()
    missed = job.termination is not None and job.termination.reason == NODES_MISSING
    if missed and job.state is JobState.RUNNING:  # it ends, and has yet to: where its pods stood is what was seen before
        return after.model_copy(update={"state": before.state, "message": before.message})
    if after.state is State.RUNNING:
        moved = {"disrupted": 0} if after.done > before.done else {}
        seen = so_far.model_copy(update=moved | {"leaving": so_far.leaving or job.disrupted > 0})
        return after.model_copy(update={"retries": seen}) if seen != so_far else after
    if after.state is not State.FAILED or not _may_do_better(job):
        return after
    drained = so_far.leaving or job.disrupted > 0
    homeless = missed and before.state is State.WAITING  # pods that had all started, and did not meet, failed
    why = "a pod was drained or preempted" if drained else after.message or "no pod is left to say why"
    failed = not (drained or homeless)
    counted = Retries(failed=so_far.failed + failed, disrupted=so_far.disrupted + drained, last=why)
    if counted.failed > limit:
        return after
    # What was done stays, so that it is no progress when the next attempt begins where the last checkpoint is.
    figures = {name: getattr(after, name) for name in ("done", "total", "unit", "last_disruption")}
    return ledger.again(after).model_copy(update={**figures, "retries": counted})


def words(entry: StageStatus, limit: int) -> str:
    """Return which attempt is next and what became of the last one, or nothing before the second."""
    if entry.retries is None or not entry.retries.last:
        return ""
    return f"attempt {entry.retries.failed + 1} of {limit + 1} is next; the last one ended: {entry.retries.last}"


def pause(entry: StageStatus, last: JobView | None, now: datetime) -> float:
    """Return the seconds until the next attempt may begin. `last`: the Job of the one before, if it is still there.

    The same for every look at the same attempt. A clock that is wrong by more than a pause is not waited for.
    """
    if entry.retries is None or last is None or last.finished_at is None:
        return 0.0
    times = entry.retries.failed + entry.retries.disrupted
    delay = min(FIRST_PAUSE * 2.0 ** max(times - 1, 0), LONGEST_PAUSE) * (1 + JITTER * _draw(last))
    left = (moment(last.finished_at) - now).total_seconds() + delay
    return left if 0 < left < 2 * LONGEST_PAUSE else 0.0


def _draw(job: JobView) -> float:
    """Return a number from 0 to 1, which is another for every run and attempt."""
    drawn = hashlib.sha256(f"{job.run_uid}/{job.attempt}".encode()).digest()
    return int.from_bytes(drawn[:4]) / 2**32


def _may_do_better(job: JobView) -> bool:
    if job.ended_by not in ENDED_BY_PODS or job.exit_code in FATAL:
        return False
    return job.ended_by != "PodFailurePolicy" or DISRUPTED in job.why or job.evicted > 0
