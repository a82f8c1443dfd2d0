"""Which attempt of nodes that train together follows which, and when: what a whole run's story does not reach."""

from dataclasses import replace
from datetime import timedelta

import pytest

from rehearsal.api.messages import NODES_MISSING, Termination
from rehearsal.api.status import Retries, StageStatus, State
from rehearsal.controller.attempts import followed, pause
from rehearsal.controller.jobs import JobState, JobView
from tests.unit.worlds import NOON

BEFORE = StageStatus(name="train", fingerprint="f" * 64, state=State.RUNNING, done=40, total=60, unit="steps")
FAILED = BEFORE.model_copy(update={"state": State.FAILED, "message": "exit code 75"})


def a_failed_job(**changes: object) -> JobView:
    names = dict.fromkeys(("name", "uid", "run", "run_uid", "stage", "fingerprint", "execution", "supplies"), "any")
    job = JobView(**names, attempt=0, devices=16, state=JobState.FAILED, whole=True)  # type: ignore[arg-type]
    return replace(job, ended_by="BackoffLimitExceeded", finished_at="2026-01-01T12:00:00Z", **changes)  # type: ignore[arg-type]


MISSED = a_failed_job(exit_code=75, termination=Termination(reason=NODES_MISSING, message="nobody came"))


def test_a_failed_attempt_is_counted_and_the_next_one_begins_with_the_figures_of_the_last() -> None:
    entry = followed(BEFORE, FAILED, a_failed_job(exit_code=75), 6)
    assert (entry.state, entry.attempt, entry.done, entry.total) == (State.PENDING, 1, 40, 60)
    assert entry.retries == Retries(failed=1, last="exit code 75")


@pytest.mark.parametrize("code", [64, 65, 66])
def test_a_refusal_is_final_though_another_pods_end_is_what_failed_the_job(code: int) -> None:
    assert followed(BEFORE, FAILED, a_failed_job(exit_code=code), 6) is FAILED


def test_a_refusal_is_final_though_its_pod_is_gone() -> None:
    why = "Container main for pod research/p failed with exit code 64 matching FailJob rule at index 1"
    assert followed(BEFORE, FAILED, replace(a_failed_job(why=why), ended_by="PodFailurePolicy"), 6) is FAILED


def test_a_job_that_kubernetes_retries_by_the_pod_has_no_next_attempt() -> None:
    assert followed(BEFORE, FAILED, replace(a_failed_job(exit_code=75), whole=False), 6) is FAILED


def test_a_stage_that_has_failed_stays_so_whatever_its_job_looks_like_later() -> None:
    assert followed(FAILED, FAILED, a_failed_job(exit_code=75), 100) is FAILED


def test_progress_ends_the_row_of_drains() -> None:
    drained = BEFORE.model_copy(update={"retries": Retries(disrupted=4, last="a pod was drained or preempted")})
    working = replace(a_failed_job(), state=JobState.RUNNING)
    assert followed(drained, drained, working, 6).retries == drained.retries
    moved = followed(drained, drained.model_copy(update={"done": 41}), working, 6)
    assert moved.retries
    assert moved.retries.disrupted == 0


@pytest.mark.fault(24)
def test_an_attempt_that_had_no_room_for_all_its_pods_counts_as_none() -> None:
    waiting = BEFORE.model_copy(update={"state": State.WAITING, "message": "3 Insufficient nvidia.com/gpu"})
    assert followed(waiting, FAILED, MISSED, 0).retries == Retries(last="exit code 75")
    assert followed(BEFORE, FAILED, MISSED, 0) is FAILED


@pytest.mark.fault(24)
def test_where_the_pods_stood_is_not_forgotten_while_the_attempt_ends() -> None:
    """The guard: a Job whose pods are being ended looks as one whose pods have all started."""
    waiting = BEFORE.model_copy(update={"state": State.WAITING, "message": "3 Insufficient nvidia.com/gpu"})
    ending = replace(MISSED, state=JobState.RUNNING, finished_at=None)
    assert followed(waiting, waiting.model_copy(update={"state": State.RUNNING, "message": ""}), ending, 0) == waiting


@pytest.mark.parametrize(("attempts", "seconds"), [(1, 10), (2, 20), (3, 40), (6, 320), (7, 360), (60, 360)])
def test_pauses_are_the_job_controllers_and_up_to_half_as_long_again(attempts: int, seconds: float) -> None:
    entry = FAILED.model_copy(update={"retries": Retries(failed=attempts - 1, disrupted=1)})
    whole = pause(entry, a_failed_job(), NOON)
    assert seconds <= whole < 1.5 * seconds
    assert pause(entry, a_failed_job(), NOON + timedelta(seconds=seconds - 1)) == pytest.approx(whole - seconds + 1)
    assert pause(entry, a_failed_job(), NOON + timedelta(seconds=1.5 * seconds)) == 0


def test_runs_that_gave_up_at_the_same_moment_ask_again_at_moments_of_their_own() -> None:
    entry = FAILED.model_copy(update={"retries": Retries(last="NodesMissing")})
    pauses = {pause(entry, replace(a_failed_job(), run_uid=run, attempt=number), NOON) for run in "ab" for number in range(3)}
    assert len(pauses) == 6


@pytest.mark.fault(22)
def test_a_clock_that_is_an_hour_off_holds_no_attempt_back() -> None:
    entry = FAILED.model_copy(update={"retries": Retries(failed=7)})
    assert pause(entry, a_failed_job(), NOON - timedelta(hours=1)) == 0
    assert pause(entry, a_failed_job(), NOON - timedelta(seconds=2)) == pause(entry, a_failed_job(), NOON) + 2


def test_a_job_that_is_gone_leaves_nothing_to_wait_for() -> None:
    assert pause(FAILED.model_copy(update={"retries": Retries(failed=1)}), None, NOON) == 0
