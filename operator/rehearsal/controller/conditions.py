"""The conditions of a run: native Job names for `kubectl wait`, kstatus names for GitOps tools. Pure.

All of them are set at once. Whatever else there is to say (Refused, NameTaken, Waiting …) is a reason of one of them.
"""

from datetime import datetime, timedelta

from rehearsal.api.status import Condition, RunResult, RunStatus, StageStatus, State
from rehearsal.controller.hold import Missing
from rehearsal.controller.jobs import JobView
from rehearsal.controller.ledger import moment, stamp
from rehearsal.controller.observe import Run
from rehearsal.controller.progress import held_up, measured

TYPES = ("Complete", "Failed", "Suspended", "Ready", "Reconciling", "Stalled")
GRACE = timedelta(minutes=10)
"""How long past its deadline a Job may be seen alive before somebody should look."""
MOST_DISRUPTIONS = 5
"""Pods, or attempts, lost to drains and preemption, without progress in between, that make a run Stalled. They cost no retry."""


def refused(status: RunStatus, run: Run, message: str, now: datetime) -> RunStatus:
    """The spec cannot be carried out as it is written."""
    status = idle(status).model_copy(update={"summary": "Refused"})
    return _set(status, run, {"Failed", "Stalled"}, "Refused", message, now)


def suspended(status: RunStatus, run: Run, now: datetime) -> RunStatus:
    """Nothing runs until `spec.suspend` is false again."""
    status = idle(status).model_copy(update={"summary": "Suspended", "eta": None, "remaining": ""})
    return _set(status, run, {"Suspended"}, "Suspended", "spec.suspend is true", now)


def stalled(status: RunStatus, run: Run, reason: str, message: str, now: datetime) -> RunStatus:
    """Somebody has to look; the operator goes on trying."""
    return _set(status, run, {"Stalled"}, reason, message, now)


def idle(status: RunStatus) -> RunStatus:
    """Return the status of a run whose live Jobs are stopped."""
    still = {"state": State.PENDING, "message": ""}
    stages = [stage.model_copy(update=still) if stage.moving else stage for stage in status.stages]
    return status.model_copy(update={"stages": stages})


def of_run(
    status: RunStatus, run: Run, jobs: tuple[JobView, ...], now: datetime, pinned: bool, lost: Missing | None = None
) -> RunStatus:
    """Return the status with its conditions and progress, as its stages tell.

    `pinned`: preflight has answered. `lost`: what the rest of the run needs and the platform has no more.
    """
    status = measured(status, now)
    failed = [stage for stage in status.stages if stage.state is State.FAILED]
    at_work = [stage for stage in status.stages if stage.moving]
    if failed and not at_work:
        return _set(status, run, {"Failed", "Stalled"}, "StageFailed", f"{failed[0].name}: {failed[0].message}", now)
    if pinned and all(stage.state.done for stage in status.stages):
        ran = [stage.name for stage in status.stages if stage.state is State.SUCCEEDED]
        status = status.model_copy(update={"summary": "Complete", "result": _result(status)})
        words = f"{len(ran)} of {len(status.stages)} stages ran for this run"
        return _set(status, run, {"Complete", "Ready"}, "Complete", words, now)
    if lost:
        words = (
            f"{lost.field}: {lost.loss}. Nothing that needs it is started, what is at work goes on; name it in the platform again"
        )
        return stalled(status, run, lost.reason, words, now)
    if stuck := _overdue(at_work, jobs, now) or _disrupted(at_work, jobs):
        return stalled(status, run, *stuck, now)
    held = [stage for stage in at_work if held_up(stage)]
    if held and all(stage.state is State.WAITING for stage in at_work):
        return _set(status, run, {"Reconciling"}, "Waiting", f"{held[0].name}: {held[0].message}", now)
    works = ", ".join(stage.name for stage in at_work if stage not in held) or "next stage"
    waits = ", ".join(f"{stage.name} ({stage.message})" for stage in held)
    return _set(status, run, {"Reconciling"}, "Running", f"{works}; waiting: {waits}" if waits else works, now)


def _overdue(stages: list[StageStatus], jobs: tuple[JobView, ...], now: datetime) -> tuple[str, str] | None:
    """A Job's deadline is Kubernetes' to enforce, from when it was let run; one that lives on says that nobody does."""
    for stage in stages:
        job = next((job for job in jobs if job.name == stage.job), None)
        if job and job.activated_at and job.deadline and moment(job.activated_at) + timedelta(seconds=job.deadline) + GRACE < now:
            return "DeadlineIgnored", f"{stage.name}: its Job is past its deadline and neither complete nor failed"
    return None


def _disrupted(stages: list[StageStatus], jobs: tuple[JobView, ...]) -> tuple[str, str] | None:
    """Too many drains and preemptions in a row: of pods that were replaced, or of attempts that they ended as a whole."""
    for stage in stages:
        job = next((job for job in jobs if job.name == stage.job), None)
        pods = job.disrupted - stage.disrupted if job and not job.whole else 0
        times = stage.retries.disrupted if stage.retries else 0
        if pods >= MOST_DISRUPTIONS:
            return "Disrupted", f"{stage.name}: {pods} pods were drained or preempted without progress{_by_whom(stage)}"
        if times >= MOST_DISRUPTIONS:
            return (
                "Disrupted",
                f"{stage.name}: drains or preemption ended {times} attempts in a row without progress{_by_whom(stage)}",
            )
    return None


def _by_whom(stage: StageStatus) -> str:
    last = stage.last_disruption
    return f"; the last one: {last.reason}: {last.message}" if last else ""


def _result(status: RunStatus) -> RunResult:
    outputs = {stage.name: stage.output for stage in status.stages}
    report = status.stage("report")
    return RunResult(
        model=outputs.get("train", ""),
        dataset=outputs.get("select", ""),
        report=outputs.get("report", ""),
        scores=report.facts if report else {},
    )


def _set(status: RunStatus, run: Run, true: set[str], reason: str, message: str, now: datetime) -> RunStatus:
    """Set all conditions at once; a transition time changes only with its status."""
    found = []
    for name in TYPES:
        value, before = str(name in true), run.status.condition(name)
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
