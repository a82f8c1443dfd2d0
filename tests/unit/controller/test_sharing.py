"""Two runs that need the same stage: one works, the other waits and reads; nobody waits for ever."""

from dataclasses import replace
from datetime import timedelta

import pytest

from rehearsal.api.messages import Progress, Termination
from rehearsal.api.status import State
from rehearsal.controller.jobs import JobState, JobView
from rehearsal.controller.observe import Observation, Run
from rehearsal.controller.plan import Plan, decide
from tests.unit.worlds import NOON, a_platform, a_run, as_seen, created, pinned

pytestmark = pytest.mark.fault(64)
PLATFORM = a_platform()


def a_pinned_run(name: str = "medical", uid: str = "0000-1111") -> Run:
    run = a_run(name=name, uid=uid)
    return replace(run, status=pinned(run))


def look(run: Run, jobs: tuple[JobView, ...] = (), rivals: tuple[JobView, ...] = (), minutes: float = 0) -> Plan:
    return decide(Observation(run, jobs, rivals), PLATFORM, NOON + timedelta(minutes=minutes))


def the_others_jobs(state: JobState, **changes: object) -> tuple[JobView, ...]:
    """Elicit and evaluate-base of another run of the same spec."""
    manifests = look(a_pinned_run("legal", "2222-3333")).create
    return tuple(as_seen(manifest, state, created_at="2026-01-01T11:55:00Z", **changes) for manifest in manifests)


def test_a_stage_that_another_run_computes_is_waited_for_and_says_whose() -> None:
    plan = look(a_pinned_run(), rivals=the_others_jobs(JobState.RUNNING))
    elicit = plan.status.stage("elicit")
    assert not plan.create
    assert elicit
    assert (elicit.state, elicit.message) == (State.WAITING, "waits for run legal, which computes this stage")
    assert plan.look_again == 15


def test_the_result_of_the_other_run_is_reused_as_soon_as_it_is_sealed() -> None:
    rivals = the_others_jobs(JobState.COMPLETE, termination=Termination(manifest_digest="a" * 64))
    plan = look(a_pinned_run(), rivals=rivals)
    elicit = plan.status.stage("elicit")
    assert elicit
    assert elicit.state is State.REUSED
    assert elicit.reason == "run legal has just computed it"
    assert created(plan) == ["filter"]


@pytest.mark.parametrize("end", [{"state": JobState.FAILED}, {"deleting": True}])
def test_a_job_that_failed_or_is_being_deleted_holds_nobody_back(end: dict[str, object]) -> None:
    rivals = tuple(replace(job, **end) for job in the_others_jobs(JobState.RUNNING))  # type: ignore[arg-type]
    assert created(look(a_pinned_run(), rivals=rivals)) == ["elicit", "evaluate-base"]


def test_a_job_that_is_gone_holds_nobody_back() -> None:
    run = a_pinned_run()
    waiting = look(run, rivals=the_others_jobs(JobState.RUNNING))
    assert created(look(replace(run, status=waiting.status))) == ["elicit", "evaluate-base"]


def test_a_job_without_pods_holds_others_back_for_ten_minutes_only() -> None:
    rivals = the_others_jobs(JobState.WAITING)
    assert not look(a_pinned_run(), rivals=rivals, minutes=4).create
    assert created(look(a_pinned_run(), rivals=rivals, minutes=6)) == ["elicit", "evaluate-base"]


def test_of_two_jobs_that_wait_for_pods_the_younger_is_given_up() -> None:
    run = a_pinned_run()
    first = look(run)
    mine = tuple(as_seen(m, JobState.WAITING, created_at="2026-01-01T11:56:00Z") for m in first.create)
    plan = look(replace(run, status=first.status), mine, the_others_jobs(JobState.WAITING))
    assert {job.stage for job in plan.delete} == {"elicit", "evaluate-base"}
    older = tuple(replace(job, created_at="2026-01-01T11:54:00Z") for job in mine)
    assert not look(replace(run, status=first.status), older, the_others_jobs(JobState.WAITING)).delete


@pytest.mark.fault(71)
def test_a_place_in_the_queue_that_this_run_would_ask_for_too_is_waited_for_without_a_limit() -> None:
    rivals = the_others_jobs(JobState.WAITING, queue="gpu")
    assert not look(a_pinned_run(), rivals=rivals, minutes=6000).create
    other = tuple(replace(job, execution="of another size or priority") for job in rivals)
    assert created(look(a_pinned_run(), rivals=other, minutes=6)) == ["elicit", "evaluate-base"]


@pytest.mark.fault(71)
def test_the_ten_minutes_begin_when_a_queue_lets_a_job_go() -> None:
    rivals = the_others_jobs(JobState.WAITING, activated_at="2026-01-01T12:55:00Z")
    assert not look(a_pinned_run(), rivals=rivals, minutes=64).create
    assert created(look(a_pinned_run(), rivals=rivals, minutes=66)) == ["elicit", "evaluate-base"]


def two_at_work(mine_since: str, done: int = 0, **changes: object) -> Plan:
    """A look at a run whose Jobs work, while another run's of the same stages do, since 11:55."""
    run = a_pinned_run()
    first = look(run)
    mine = tuple(as_seen(m, JobState.RUNNING, created_at=mine_since, progress=Progress(done=done, total=100)) for m in first.create)
    rivals = tuple(replace(job, **changes) for job in the_others_jobs(JobState.RUNNING))  # type: ignore[arg-type]
    return look(replace(run, status=first.status), mine, rivals)


@pytest.mark.fault(71)
def test_of_two_jobs_that_work_the_younger_is_given_up_while_it_has_committed_nothing() -> None:
    plan = two_at_work("2026-01-01T11:59:00Z")
    assert {job.stage for job in plan.delete} == {"elicit", "evaluate-base"}
    assert plan.status.stage("elicit").state is State.WAITING  # type: ignore[union-attr]


def test_a_job_that_has_committed_something_or_is_the_older_is_not_given_up() -> None:
    assert not two_at_work("2026-01-01T11:59:00Z", done=1).delete
    assert not two_at_work("2026-01-01T11:54:00Z").delete


def test_a_job_that_works_is_not_given_up_for_one_that_waits_or_ends() -> None:
    assert not two_at_work("2026-01-01T11:59:00Z", state=JobState.WAITING, queue="gpu").delete
    assert not two_at_work("2026-01-01T11:59:00Z", deleting=True).delete


def test_a_stage_is_ordered_only_after_its_fingerprint_was_recorded() -> None:
    run = a_run()
    unrecorded = replace(run, status=pinned(run).model_copy(update={"stages": []}))
    first = look(unrecorded)
    assert not first.create
    assert first.look_again == 0
    assert created(look(replace(run, status=first.status))) == ["elicit", "evaluate-base"]


def test_a_seal_that_a_reader_found_missing_is_not_believed_again_on_the_other_runs_word() -> None:
    run = a_pinned_run()
    rivals = the_others_jobs(JobState.COMPLETE, termination=Termination(manifest_digest="a" * 64))
    status = look(run, rivals=rivals).status
    again = [stage.model_copy(update={"sealed": None, "state": State.PENDING, "attempt": 1}) for stage in status.stages]
    plan = look(replace(run, status=status.model_copy(update={"stages": again})), rivals=rivals)
    assert "elicit" in created(plan)


def test_a_job_of_ours_that_waits_is_deleted_when_the_stage_is_sealed_meanwhile() -> None:
    run = a_pinned_run()
    first = look(run)
    mine = tuple(as_seen(m, JobState.WAITING) for m in first.create)
    rivals = the_others_jobs(JobState.COMPLETE, termination=Termination(manifest_digest="a" * 64))
    plan = look(replace(run, status=first.status), mine, rivals)
    assert {job.stage for job in plan.delete} == {"elicit", "evaluate-base"}
