"""Conditions and the table's columns: what a person and a GitOps tool see of a run."""

from dataclasses import replace
from datetime import timedelta

import pytest

from rehearsal.api.messages import Progress, Termination
from rehearsal.api.status import Disruption, RunStatus, StageStatus, State
from rehearsal.controller.conditions import of_run
from rehearsal.controller.jobs import JobState
from rehearsal.controller.observe import Observation, Run
from rehearsal.controller.plan import Plan, decide
from rehearsal.controller.progress import in_words
from tests.unit.worlds import NOON, a_platform, a_run, a_spec, as_seen, pinned, preflight_done, sealed_by

PLATFORM = a_platform()
NO_GPU = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."


def look(run: Run, *jobs: object, minutes: float = 0) -> Plan:
    return decide(Observation(run, jobs), PLATFORM, NOON + timedelta(minutes=minutes))  # type: ignore[arg-type]


def started() -> tuple[Run, Plan]:
    run = a_run()
    run = replace(run, status=pinned(run))
    plan = look(run)
    return replace(run, status=plan.status), plan


def said(status: RunStatus) -> tuple[str, str]:
    condition = status.condition("Reconciling")
    assert condition
    assert condition.status == "True"
    return condition.reason, condition.message


def true(status: RunStatus) -> set[str]:
    return {condition.type for condition in status.conditions if condition.status == "True"}


def test_stages_at_work_are_named_and_then_those_that_wait() -> None:
    run, first = started()
    assert first.status.summary == "elicit, evaluate-base: Waiting"
    assert look(run, *[as_seen(m) for m in first.create]).status.summary == "elicit, evaluate-base"


def test_a_run_whose_every_job_waits_says_why_in_its_condition() -> None:
    run, first = started()
    plan = look(run, *[as_seen(m, JobState.WAITING, waits="Kueue: quota is used up") for m in first.create])
    assert said(plan.status) == ("Waiting", "elicit: Kueue: quota is used up")


def test_a_stage_that_waits_beside_one_at_work_is_told_with_its_words() -> None:
    run, first = started()
    works, waits = first.create
    status = look(run, as_seen(works), as_seen(waits, JobState.WAITING, waits=NO_GPU)).status
    assert said(status) == ("Running", f"elicit; waiting: evaluate-base ({NO_GPU})")
    assert status.summary == "elicit; evaluate-base: Waiting"
    status = look(run, as_seen(works, JobState.WAITING, waits=NO_GPU), as_seen(waits)).status
    assert said(status) == ("Running", f"evaluate-base; waiting: elicit ({NO_GPU})")
    assert status.summary == "evaluate-base; elicit: Waiting"


def test_a_stage_whose_job_was_made_a_moment_ago_is_not_told_to_wait_beside_one_at_work() -> None:
    run, first = started()
    works, fresh = first.create
    status = look(run, as_seen(works), as_seen(fresh, JobState.WAITING)).status
    assert said(status) == ("Running", "elicit, evaluate-base")
    assert status.summary == "elicit"


def test_each_stage_that_waits_beside_others_is_told_and_the_tables_cell_stays_short() -> None:
    at_work = [StageStatus(name=f"judge-{c}", state=State.RUNNING) for c in "abc"]
    held = [StageStatus(name=f"respond-{c}", state=State.WAITING, message=f"no {c}") for c in "xyz"]
    status = of_run(RunStatus(stages=at_work + held), a_run(), (), NOON, True)
    assert said(status)[1] == "judge-a, judge-b, judge-c; waiting: respond-x (no x), respond-y (no y), respond-z (no z)"
    assert status.summary == "judge-a, judge-b and 1 more; respond-x, respond-y and 1 more: Waiting"


def test_stages_of_the_longest_names_fit_the_tables_cell() -> None:
    at_work = [StageStatus(name=f"respond-{c * 32}", state=State.RUNNING) for c in "abc"]
    held = [StageStatus(name=f"judge-{c * 32}", state=State.WAITING, message=NO_GPU) for c in "xyz"]
    status = of_run(RunStatus(stages=at_work + held), a_run(), (), NOON, True)
    assert status.summary == f"respond-{'a' * 32}, respond-{'b' * 32} and 1 more; 3 more: Waiting"
    RunStatus.model_validate(status.model_dump())


@pytest.mark.fault(21)
def test_a_job_that_outlives_its_deadline_makes_the_run_stalled_and_not_failed() -> None:
    run, first = started()
    jobs = [as_seen(m) for m in first.create]
    late = PLATFORM.deadline_seconds / 60
    assert true(look(run, *jobs, minutes=late - 61).status) == {"Reconciling"}
    plan = look(run, *jobs, minutes=late + 11)
    assert true(plan.status) == {"Stalled"}
    assert "past its deadline" in plan.status.condition("Stalled").message  # type: ignore[union-attr]
    assert not plan.finished


def test_pods_that_are_drained_again_and_again_without_progress_make_the_run_stalled() -> None:
    run, first = started()
    last = Disruption(reason="PreemptionByScheduler", message="default-scheduler: preempting to accommodate a higher priority pod")
    jobs = [as_seen(m, disrupted=5, last_disruption=last) for m in first.create]
    plan = look(run, *jobs)
    words = plan.status.condition("Stalled").message  # type: ignore[union-attr]
    assert words == f"elicit: 5 pods were drained or preempted without progress; the last one: {last.reason}: {last.message}"
    moved = [replace(job, progress=Progress(done=500, total=1000)) for job in jobs]
    assert true(look(run, *moved).status) == {"Reconciling"}


def test_a_complete_run_says_where_its_results_lie_and_what_they_scored() -> None:
    run, plan, jobs = a_run(), None, []
    for _ in range(40):
        plan = look(run, *jobs)
        run = replace(run, status=plan.status)
        jobs += [preflight_done(m) if "preflight" in str(m["metadata"]) else sealed_by(m) for m in plan.create]
        if plan.finished:
            break
    status = run.status
    assert status.summary == "Complete"
    assert status.result
    assert status.result.model == f"research/train/{status.stage('train').fingerprint}"  # type: ignore[union-attr]
    assert status.result.dataset == f"research/select/{status.stage('select').fingerprint}"  # type: ignore[union-attr]
    assert status.remaining == ""


def test_all_conditions_are_set_on_the_first_visit_with_the_generation() -> None:
    plan = look(a_run(generation=7))
    assert {condition.observed_generation for condition in plan.status.conditions} == {7}
    assert len(plan.status.conditions) == 6


def test_each_condition_has_a_reason_and_a_message_of_its_own() -> None:
    run, first = started()
    status = look(run, *[as_seen(m) for m in first.create]).status
    told = {c.type: (c.status, c.reason, c.message) for c in status.conditions}
    assert told == {
        "Complete": ("False", "Running", f"0 of {len(status.stages)} stages are done"),
        "Failed": ("False", "NotFailed", "no stage has failed"),
        "Suspended": ("False", "NotSuspended", "spec.suspend is false"),
        "Ready": ("False", "Running", "elicit, evaluate-base"),
        "Reconciling": ("True", "Running", "elicit, evaluate-base"),
        "Stalled": ("False", "NotStalled", "nobody has to act"),
    }
    words = Termination(reason="Refused", message="no such model")
    failed = look(run, *[as_seen(m, JobState.FAILED, termination=words) for m in first.create]).status
    assert {(c.type, c.reason) for c in failed.conditions if c.status == "False"} == {
        ("Complete", "StageFailed"),
        ("Suspended", "NotSuspended"),
        ("Ready", "StageFailed"),
        ("Reconciling", "StageFailed"),
    }
    assert failed.condition("Suspended").message == "spec.suspend is false"  # type: ignore[union-attr]


def test_a_refused_run_frees_its_jobs() -> None:
    run, first = started()
    jobs = [as_seen(m) for m in first.create]
    plan = look(replace(run, spec=a_spec(store="attic"), generation=2), *jobs)
    assert len(plan.delete) == 2
    assert true(plan.status) == {"Failed", "Stalled"}


def test_an_endpoint_that_the_platform_does_not_have_is_refused_by_name() -> None:
    members = [{"name": "base", "base": True}, {"name": "gpt4", "endpoint": {"name": "openai", "model": "gpt-4"}}]
    run = a_run(spec=a_spec(rehearsal={"reconstructed": {"committee": {"members": members}}}))
    words = look(run).status.condition("Failed").message  # type: ignore[union-attr]
    assert words == (
        "spec.rehearsal.reconstructed.committee.members[1].endpoint.name: the platform has no endpoint 'openai'; it has none"
    )


def test_a_preflight_of_an_earlier_generation_is_stopped() -> None:
    run = a_run()
    asked = look(run)
    stuck = as_seen(asked.create[0], JobState.WAITING)
    plan = look(replace(run, status=asked.status, generation=2, spec=a_spec(queueName="gpu")), stuck)
    assert [job.name for job in plan.delete] == [stuck.name]
    assert len(plan.create) == 1


@pytest.mark.parametrize(
    ("seconds", "words"), [(None, ""), (45.2, "45s"), (720, "12m"), (12_000, "3h20m"), (187_200, "2d4h"), (0, "0s")]
)
def test_time_left_is_written_as_kubernetes_writes_durations(seconds: float | None, words: str) -> None:
    assert in_words(seconds) == words


def test_a_preflight_of_an_earlier_generation_is_stopped_also_when_the_present_one_has_answered() -> None:
    run, first = started()
    stuck = replace(as_seen(look(a_run()).create[0], JobState.WAITING), fingerprint="of an earlier generation")
    assert stuck in look(run, stuck, *[as_seen(m) for m in first.create]).delete


def test_time_left_is_told_by_the_pace_of_what_runs_and_not_by_what_was_reused() -> None:
    run, first = started()
    jobs = [as_seen(m, progress=Progress(done=50, total=100, per_second=0.5)) for m in first.create]
    status = look(run, *jobs).status
    weights = {"elicit": 10, "respond": 15, "judge": 25, "train": 30, "evaluate": 10}
    left = sum(weights.get(s.name.partition("-")[0], 1) * (0.5 if s.done else 1.0) for s in status.stages)
    assert status.remaining == in_words(left / (20 * 0.5 / 100))
