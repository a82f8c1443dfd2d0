"""Why a run needs somebody's help while the operator goes on trying: the reasons of the condition Stalled. Pure."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from rehearsal.api.status import StageStatus, State
from rehearsal.controller.jobs import JobView
from rehearsal.controller.ledger import moment, stamp
from rehearsal.controller.why import NEEDS_SOMEBODY, Why
from rehearsal.pipeline.stage import Kind

GRACE = timedelta(minutes=10)
"""How long past its deadline a Job may be seen alive before somebody should look."""
MOST_DISRUPTIONS = 5
"""Pods, or attempts, lost to drains and preemption, without progress in between, that make a run Stalled. They cost no retry."""
WAITED = 0.5
"""The share of a Job's deadline, which counts from when it was let run, after which a wait for a node is told as more than a wait."""


def stall(stages: Iterable[StageStatus], jobs: Iterable[JobView], unended: Why | None, now: datetime) -> Why | None:
    """Return the gravest reason among the stages at work; its message begins with the stage's name.

    `unended`: why pods that trained together before, and whose Job may be gone, do not end; the next ones wait for that.
    """
    by_name = {job.name: job for job in jobs}
    at_work = [(stage, by_name.get(stage.job or "")) for stage in stages]
    for rule in (_blocked, _stuck, _overdue, _disrupted, _runs_out):
        for stage, job in at_work:
            if why := rule(stage, job, now):
                return why._replace(message=f"{stage.name}: {why.message}")
    waits = any(stage.name == Kind.TRAIN and job is None for stage, job in at_work)
    return unended._replace(message=f"{Kind.TRAIN}: {unended.message}") if unended and waits else None


def _blocked(stage: StageStatus, _: JobView | None, __: datetime) -> Why | None:
    """No Job could be created, and that will not change by itself."""
    if stage.blocked not in NEEDS_SOMEBODY:
        return None
    return Why(stage.blocked, stage.message.removeprefix(f"{stage.blocked}: "))


def _stuck(_: StageStatus, job: JobView | None, __: datetime) -> Why | None:
    """A pod shows no life, or makes no progress."""
    return job.stuck if job else None


def _overdue(_: StageStatus, job: JobView | None, now: datetime) -> Why | None:
    """A Job's deadline is Kubernetes' to enforce, from when it was let run; one that lives on says that nobody does."""
    ends = _ends(job)
    if ends is None or ends + GRACE >= now:
        return None
    return Why("DeadlineIgnored", "its Job is past its deadline and neither complete nor failed")


def _disrupted(stage: StageStatus, job: JobView | None, _: datetime) -> Why | None:
    """Too many drains and preemptions in a row: of pods that were replaced, or of attempts that they ended as a whole."""
    pods = job.disrupted - stage.disrupted if job and not job.whole else 0
    times = stage.retries.disrupted if stage.retries else 0
    if pods >= MOST_DISRUPTIONS:
        return Why("Disrupted", f"{pods} pods were drained or preempted without progress{_by_whom(stage)}")
    if times >= MOST_DISRUPTIONS:
        return Why("Disrupted", f"drains or preemption ended {times} attempts in a row without progress{_by_whom(stage)}")
    return None


def _by_whom(stage: StageStatus) -> str:
    last = stage.last_disruption
    return f"; the last one: {last.reason}: {last.message}" if last else ""


def _runs_out(stage: StageStatus, job: JobView | None, now: datetime) -> Why | None:
    """A Job waits for a node for so long that its deadline comes near: it would end without having worked."""
    ends = _ends(job)
    if stage.state is not State.WAITING or ends is None or job is None or job.started_at or not job.deadline:
        return None
    if ends - now > timedelta(seconds=job.deadline) * (1 - WAITED):
        return None
    words = f"no node has taken a pod since {job.activated_at}, and its deadline ends the Job at {stamp(ends)}"
    return Why("DeadlineNear", f"{words} (deadlineSeconds of the platform). {stage.message}".strip())


def _ends(job: JobView | None) -> datetime | None:
    """When a Job's deadline is over."""
    if job is None or not job.activated_at or not job.deadline:
        return None
    return moment(job.activated_at) + timedelta(seconds=job.deadline)
