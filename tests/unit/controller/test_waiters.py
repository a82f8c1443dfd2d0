"""Who is woken by what happens to another run's Job."""

from rehearsal.api.status import RunStatus, StageStatus, State
from rehearsal.cluster.port import Manifest
from rehearsal.controller.waiters import Waiters

A, B = ("ns", "a"), ("ns", "b")
MIX, TRAIN = "1" * 64, "2" * 64


def status(*stages: tuple[str, State, str | None]) -> RunStatus:
    return RunStatus(stages=[StageStatus(name=each[:9], fingerprint=each, state=state, job=job) for each, state, job in stages])


def a_job(fingerprint: str, namespace: str = "ns") -> Manifest:
    labels = {"rehearsal.dev/fingerprint": fingerprint[:40]}
    return {"kind": "Job", "metadata": {"name": "j", "namespace": namespace, "labels": labels}}


def test_the_runs_that_wait_for_its_stage_are_told_of_a_job() -> None:
    waiters = Waiters()
    waiters.record(A, status((MIX, State.WAITING, None)))
    waiters.record(B, status((MIX, State.WAITING, None), (TRAIN, State.WAITING, None)))
    assert waiters.of(a_job(MIX)) == {A, B}
    assert waiters.of(a_job(TRAIN)) == {B}
    assert not waiters.of(a_job(MIX, namespace="other"))


def test_a_run_that_waits_for_its_own_job_or_for_nothing_is_not() -> None:
    waiters = Waiters()
    waiters.record(A, status((MIX, State.WAITING, "my-own"), (TRAIN, State.PENDING, None)))
    assert not waiters.of(a_job(MIX))
    assert not waiters.of(a_job(TRAIN))
    assert not waiters.of({"kind": "Job", "metadata": {"name": "j", "namespace": "ns"}})


def test_a_pod_of_the_stage_wakes_nobody() -> None:
    waiters = Waiters()
    waiters.record(A, status((MIX, State.WAITING, None)))
    assert not waiters.of(a_job(MIX) | {"kind": "Pod"})


def test_of_a_run_the_latest_status_counts_and_of_one_that_is_gone_nothing_is_kept() -> None:
    waiters = Waiters()
    waiters.record(A, status((MIX, State.WAITING, None)))
    waiters.record(A, status((MIX, State.REUSED, None), (TRAIN, State.WAITING, None)))
    assert (waiters.of(a_job(MIX)), waiters.of(a_job(TRAIN))) == (frozenset(), {A})
    waiters.record(A, None)
    assert vars(waiters) == vars(Waiters())
