"""Events: few, in plain words, each told once."""

from dataclasses import replace

import pytest

from rehearsal.api.messages import Termination
from rehearsal.controller.jobs import JobState
from rehearsal.controller.observe import Observation, Run
from rehearsal.controller.plan import Plan, decide
from tests.unit.worlds import NOON, a_platform, a_run, a_spec, as_seen, pinned, sealed_by

PLATFORM = a_platform()
NO_GPU = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
NO_IMAGE = 'ImagePullBackOff: Back-off pulling image "none"'


def look(run: Run, *jobs: object) -> Plan:
    return decide(Observation(run, jobs), PLATFORM, NOON)  # type: ignore[arg-type]


def told(plan: Plan) -> list[tuple[str, str]]:
    return [(str(event["reason"]), str(event["message"])) for event in plan.events]


def started() -> tuple[Run, Plan]:
    run = a_run()
    run = replace(run, status=pinned(run))
    plan = look(run)
    return replace(run, status=plan.status), plan


def test_a_stage_that_ends_well_is_told_with_its_rows() -> None:
    run, first = started()
    plan = look(run, *[sealed_by(manifest) for manifest in first.create])
    assert told(plan) == [("StageSucceeded", "elicit is done, 5 rows"), ("StageSucceeded", "evaluate-base is done, 5 rows")]


def test_a_stage_that_is_done_and_lost_much_is_told_as_a_warning() -> None:
    run, first = started()
    word = Termination(manifest_digest="f" * 64, rows=5, message="25 of 625 instructions became no conversation")
    plan = look(run, as_seen(first.create[0], JobState.COMPLETE, termination=word))
    assert told(plan) == [("StageSucceeded", "elicit is done, 5 rows; 25 of 625 instructions became no conversation")]
    assert plan.events[0]["type"] == "Warning"


def test_the_same_look_tells_the_same_events_by_the_same_names() -> None:
    run, first = started()
    jobs = [sealed_by(manifest) for manifest in first.create]
    names = [event["metadata"]["name"] for event in look(run, *jobs).events]  # type: ignore[index]
    assert names == [event["metadata"]["name"] for event in look(run, *jobs).events]  # type: ignore[index]
    assert len(set(names)) == 2


def test_what_was_told_is_not_told_again() -> None:
    run, first = started()
    jobs = [sealed_by(manifest) for manifest in first.create]
    plan = look(run, *jobs)
    assert not told(look(replace(run, status=plan.status), *jobs))


def test_a_failed_stage_is_a_warning_in_the_workers_words() -> None:
    run, first = started()
    words = Termination(reason="TooManyRefused", message="4 of 5 rows were unfit")
    plan = look(run, *[as_seen(m, JobState.FAILED, termination=words, exit_code=66) for m in first.create])
    assert ("StageFailed", "elicit: TooManyRefused: 4 of 5 rows were unfit") in told(plan)
    assert {event["type"] for event in plan.events} == {"Warning"}


def test_suspending_and_resuming_are_told() -> None:
    run, _ = started()
    suspended = look(replace(run, spec=a_spec(suspend=True), generation=2))
    assert told(suspended) == [("Suspended", "spec.suspend is true")]
    resumed = look(replace(run, status=suspended.status, generation=3))
    assert told(resumed) == [("Resumed", "spec.suspend is false again")]


def test_a_refused_spec_is_told_once_by_field() -> None:
    run = a_run(spec=a_spec(store="attic"))
    plan = look(run)
    assert told(plan) == [("Refused", "spec.store: the platform has no store 'attic'; it has default")]
    assert not told(look(replace(run, status=plan.status)))


def test_waiting_is_told_in_the_schedulers_words_when_it_begins() -> None:
    run, first = started()
    jobs = [as_seen(m, JobState.WAITING, waits=NO_GPU) for m in first.create]
    plan = look(run, *jobs)
    assert told(plan) == [("Waiting", f"elicit, evaluate-base: {NO_GPU}")]
    assert not told(look(replace(run, status=plan.status), *jobs))


def test_a_stage_that_begins_to_wait_beside_one_at_work_is_told_once() -> None:
    run, first = started()
    works, waits = first.create
    plan = look(run, as_seen(works), as_seen(waits, JobState.WAITING))
    assert not told(plan)
    jobs = as_seen(works), as_seen(waits, JobState.WAITING, waits=NO_GPU)
    run = replace(run, status=plan.status)
    plan = look(run, *jobs)
    assert told(plan) == [("Waiting", f"evaluate-base: {NO_GPU}")]
    assert plan.events[0]["type"] == "Normal"
    for _ in range(3):
        run = replace(run, status=plan.status)
        plan = look(run, *jobs)
        assert not told(plan)


def test_a_stage_that_goes_on_waiting_is_not_told_again_when_others_begin_or_end() -> None:
    run, first = started()
    one, other = first.create
    waits = as_seen(other, JobState.WAITING, waits=NO_GPU)
    run = replace(run, status=look(run, as_seen(one), waits).status)
    plan = look(run, as_seen(one, JobState.WAITING, waits=NO_IMAGE), waits)
    assert told(plan) == [("Waiting", f"elicit: {NO_IMAGE}")]
    run = replace(run, status=plan.status)
    assert told(look(run, sealed_by(one), waits)) == [("StageSucceeded", "elicit is done, 5 rows")]


def test_stages_that_begin_to_wait_for_different_things_are_told_one_by_one() -> None:
    run, first = started()
    jobs = [as_seen(m, JobState.WAITING, waits=words) for m, words in zip(first.create, (NO_GPU, NO_IMAGE), strict=True)]
    assert told(look(run, *jobs)) == [("Waiting", f"elicit: {NO_GPU}"), ("Waiting", f"evaluate-base: {NO_IMAGE}")]


def test_stages_that_are_reused_are_told_in_one_event() -> None:
    run = a_run()
    status = pinned(run).model_copy(update={"found": {"elicit": "1" * 64, "filter": "2" * 64}})
    assert told(look(replace(run, status=status))) == [("StagesReused", "the store holds elicit, filter already")]


@pytest.mark.parametrize("field", ["name", "namespace", "uid"])
def test_an_event_is_about_the_run(field: str) -> None:
    run, first = started()
    event = look(run, *[sealed_by(m) for m in first.create]).events[0]
    assert event["involvedObject"][field] == getattr(run, field)  # type: ignore[index]
