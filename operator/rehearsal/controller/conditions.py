"""The conditions of a run: native Job names for `kubectl wait`, kstatus names for GitOps tools. Pure.

All of them are set at once, each with a reason and a message of its own. Ready tells in one sentence how the run stands.
"""

from collections.abc import Iterable
from datetime import datetime

from rehearsal.api.status import Condition, RunResult, RunStatus, StageStatus, State
from rehearsal.controller.hold import Missing
from rehearsal.controller.jobs import JobView
from rehearsal.controller.ledger import stamp
from rehearsal.controller.observe import Run
from rehearsal.controller.progress import held_up, measured
from rehearsal.controller.stalls import stall
from rehearsal.controller.why import Why, is_trouble
from rehearsal.pipeline.stage import Kind

TYPES = ("Complete", "Failed", "Suspended", "Ready", "Reconciling", "Stalled")
OVER = ("Complete", "Failed", "Suspended")


def refused(status: RunStatus, run: Run, message: str, now: datetime) -> RunStatus:
    """The spec cannot be carried out as it is written."""
    status = idle(status).model_copy(update={"summary": "Refused"})
    return _set(status, run, Why("Refused", message), {"Failed", "Stalled"}, now, Reconciling="nothing is started")


def suspended(status: RunStatus, run: Run, now: datetime) -> RunStatus:
    """Nothing runs until `spec.suspend` is false again."""
    status = idle(status).model_copy(update={"summary": "Suspended", "eta": None, "remaining": ""})
    return _set(status, run, Why("Suspended", "spec.suspend is true"), {"Suspended"}, now, Reconciling="nothing is started")


def of_run(
    status: RunStatus,
    run: Run,
    jobs: Iterable[JobView],
    now: datetime,
    pinned: bool,
    lost: Missing | None = None,
    unended: Why | None = None,
) -> RunStatus:
    """Return the status with its conditions and progress, as its stages tell.

    `pinned`: preflight has answered. `lost`: what the rest of the run needs and the platform has no more. `unended`: see `stall`.

    A failed run is Failed at once: nothing but an edit makes it whole again. Stages at work may end, and what they make is kept.
    """
    status = measured(status, now)
    # Until preflight has answered, what failed is of an earlier generation, and may be about to be tried again.
    failed = [stage for stage in status.stages if stage.state is State.FAILED and (pinned or stage.name == Kind.PREFLIGHT)]
    at_work = [stage for stage in status.stages if stage.moving]
    if failed:
        why = Why("StageFailed", f"{failed[0].name}: {failed[0].message}")
        running = ", ".join(stage.name for stage in at_work if stage.state is State.RUNNING)
        rest = f"; still at work: {running}" if running else ""
        return _set(status, run, why, {"Failed", "Stalled"}, now, Reconciling=f"nothing more is started{rest}")
    if pinned and all(stage.state.done for stage in status.stages):
        ran = [stage.name for stage in status.stages if stage.state is State.SUCCEEDED]
        status = status.model_copy(update={"summary": "Complete", "result": _result(status)})
        why = Why("Complete", f"{len(ran)} of {len(status.stages)} stages ran for this run")
        return _set(status, run, why, {"Complete", "Ready"}, now, Reconciling="nothing is left to do")
    if why_stalled := _lost(lost) or stall(at_work, jobs, unended, now):
        return _set(status, run, why_stalled, {"Stalled"}, now, Reconciling="the operator goes on trying; see Stalled")
    return _set(status, run, _going_on(at_work), {"Reconciling"}, now)


def troubled(status: RunStatus, run: Run, why: Why, now: datetime) -> RunStatus:
    """A call to the API server fails, whatever the run was about; what is known of it stands.

    Of a run that is over, what is left to do is told under Reconciling: why it failed matters more.
    """
    if status.observed_generation != run.generation or not status.conditions:
        return _set(status, run, why, {"Stalled"}, now, Reconciling="the operator goes on trying; see Stalled")
    told = {"Reconciling": ("False", why)} | ({} if _ended(status) else {"Stalled": ("True", why), "Ready": ("False", why)})
    conditions = [_condition(c.type, *told[c.type], run, now) if c.type in told else c for c in status.conditions]
    return status.model_copy(update={"conditions": conditions})


def trouble(status: RunStatus) -> Why | None:
    """Return the failing call for the run that a status tells of, if it does; what blocks a stage is told of the stage."""
    told = status.condition("Reconciling" if _ended(status) else "Stalled")
    of_stage = (told.message.startswith(f"{stage.name}: ") for stage in status.stages if stage.blocked and told)
    return Why(told.reason, told.message) if told and is_trouble(told.reason) and not any(of_stage) else None


def over(status: RunStatus) -> bool:
    """Return whether nothing more happens until the run is changed: it is complete, failed or suspended, and nothing is at work."""
    ended = any(c.type in OVER and c.status == "True" for c in status.conditions)
    return ended and not any(stage.moving for stage in status.stages)


def idle(status: RunStatus) -> RunStatus:
    """Return the status of a run whose live Jobs are stopped."""
    still = {"state": State.PENDING, "message": "", "blocked": ""}
    stages = [stage.model_copy(update=still) if stage.moving else stage for stage in status.stages]
    return status.model_copy(update={"stages": stages})


def _ended(status: RunStatus) -> bool:
    return any((found := status.condition(type_)) and found.status == "True" for type_ in ("Complete", "Failed"))


def _lost(name: Missing | None) -> Why | None:
    if name is None:
        return None
    words = f"{name.field}: {name.loss}. Nothing that needs it is started, what is at work goes on; name it in the platform again"
    return Why(name.reason, words)


def _going_on(at_work: list[StageStatus]) -> Why:
    held = [stage for stage in at_work if held_up(stage)]
    if held and all(stage.state is State.WAITING for stage in at_work):
        return Why("Waiting", f"{held[0].name}: {held[0].message}")
    works = ", ".join(stage.name for stage in at_work if stage not in held) or "next stage"
    waits = ", ".join(f"{stage.name} ({stage.message})" for stage in held)
    return Why("Running", f"{works}; waiting: {waits}" if waits else works)


def _result(status: RunStatus) -> RunResult:
    outputs = {stage.name: stage.output for stage in status.stages}
    report = status.stage("report")
    return RunResult(
        model=outputs.get("train", ""),
        dataset=outputs.get("select", ""),
        report=outputs.get("report", ""),
        scores=report.facts if report else {},
    )


def _set(status: RunStatus, run: Run, why: Why, true: set[str], now: datetime, **words: str) -> RunStatus:
    """Set all conditions at once. `why`: how the run stands. `words`: what else is to be said of conditions that are false."""
    told = _false(status, why) | {type_: Why(why.reason, text) for type_, text in words.items()} | dict.fromkeys(true, why)
    found = [_condition(type_, str(type_ in true), told[type_], run, now) for type_ in TYPES]
    return status.model_copy(update={"conditions": found, "observed_generation": run.generation})


def _false(status: RunStatus, why: Why) -> dict[str, Why]:
    """What each condition says while it is false, if there is nothing better to say."""
    done = sum(stage.state.done for stage in status.stages)
    return {
        "Complete": Why(why.reason, f"{done} of {len(status.stages)} stages are done" if status.stages else "no stage is done"),
        "Failed": Why("NotFailed", "no stage has failed"),
        "Suspended": Why("NotSuspended", "spec.suspend is false"),
        "Ready": why,
        "Reconciling": why,
        "Stalled": Why("NotStalled", "nobody has to act"),
    }


def _condition(type_: str, value: str, why: Why, run: Run, now: datetime) -> Condition:
    """A transition time changes only with its status."""
    before = run.status.condition(type_)
    since = before.last_transition_time if before and before.status == value else stamp(now)
    reason, message = why.reason, why.message[:1024]
    return Condition(
        type=type_, status=value, reason=reason, message=message, last_transition_time=since, observed_generation=run.generation
    )
