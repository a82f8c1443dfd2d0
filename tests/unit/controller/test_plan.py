"""The story of a run, told to `decide` one observation at a time."""

from dataclasses import replace
from datetime import timedelta

import pytest

from rehearsal.api.messages import Progress, Termination
from rehearsal.api.run import RunSpec
from rehearsal.api.status import RunStatus, State
from rehearsal.api.task import Task
from rehearsal.controller.jobs import JobState, JobView
from rehearsal.controller.observe import Observation, Run
from rehearsal.controller.plan import Plan, decide
from rehearsal.manifests.jobs import LABEL
from rehearsal.manifests.pod import TASK_ANNOTATION
from rehearsal.pipeline.fingerprint import fingerprints
from rehearsal.pipeline.stages import stages_of
from tests.unit.worlds import INPUTS, NOON, a_platform, a_run, a_spec, as_seen, created, pinned, preflight_done, sealed_by, seen

PLATFORM = a_platform()


def test_a_run_of_another_namespace_is_refused_by_the_stores_name() -> None:
    bound = PLATFORM.stores["default"].model_copy(update={"namespaces": ["elsewhere"]})
    platform = PLATFORM.model_copy(update={"stores": {"default": bound}})
    plan = decide(Observation(a_run(), (), ()), platform, NOON)
    assert (plan.create, plan.finished) == ((), True)
    failed = plan.status.condition("Failed")
    assert failed and failed.message == "spec.store: 'default' is a store of elsewhere; runs of research may not use it"


def test_a_job_is_told_the_seal_of_what_it_reads() -> None:
    run = a_run(status=pinned(a_run()))
    (elicit,) = (manifest for manifest in look(run).create if manifest["metadata"]["labels"][f"{LABEL}/stage"] == "elicit")
    (ordered,) = (manifest for manifest in look(run, sealed_by(elicit)).create if "filter" in manifest["metadata"]["name"])
    task = Task.model_validate_json(ordered["spec"]["template"]["metadata"]["annotations"][TASK_ANNOTATION])
    assert task.seals == {"elicit": "f" * 64}


def look(run: Run, *jobs: JobView, rivals: tuple[JobView, ...] = ()) -> Plan:
    """What is done about this; where stages are only recorded at first, at the next look too."""
    first = decide(Observation(run, jobs, rivals), PLATFORM, NOON)
    if first.look_again != 0:
        return first
    left = tuple(job for job in jobs if job not in first.delete)
    second = decide(Observation(carried_out(run, first), left, rivals), PLATFORM, NOON)
    return replace(second, delete=(*first.delete, *second.delete), events=(*first.events, *second.events))


def carried_out(run: Run, plan: Plan) -> Run:
    return replace(run, status=plan.status)


def is_true(status: RunStatus, condition: str) -> bool:
    found = status.condition(condition)
    return found is not None and found.status == "True"


def in_store(run: Run) -> dict[str, str]:
    """What preflight finds: the run's present stages whose fingerprints were sealed before."""
    sealed = {stage.sealed.fingerprint: stage.sealed.manifest_digest for stage in run.status.stages if stage.sealed}
    known = fingerprints(stages_of(RunSpec.model_validate(run.spec)), INPUTS)
    return {name: sealed[fingerprint] for name, fingerprint in known.items() if fingerprint in sealed}


def finish(run: Run, never: tuple[str, ...] = ()) -> tuple[Run, list[str]]:
    """Let every Job that is created seal its stage, until nothing more is created; return the run and the order of stages."""
    jobs, order = [], []
    for _ in range(40):
        plan = look(run, *jobs)
        run = carried_out(run, plan)
        if not plan.create:
            return run, order
        for stage, manifest in zip(created(plan), plan.create, strict=True):
            order.append(stage)
            if stage not in never:
                jobs.append(preflight_done(manifest, in_store(run)) if stage == "preflight" else sealed_by(manifest))
            else:
                jobs.append(as_seen(manifest))
    raise AssertionError("the run does not come to rest")


def test_a_new_run_starts_with_preflight_and_nothing_else() -> None:
    plan = look(a_run())
    assert created(plan) == ["preflight"]
    assert is_true(plan.status, "Reconciling")
    assert [condition.type for condition in plan.status.conditions] == [
        "Complete", "Failed", "Suspended", "Ready", "Reconciling", "Stalled"
    ]  # fmt: skip


def test_every_stage_runs_once_after_the_stages_it_reads_and_the_run_completes() -> None:
    run, order = finish(a_run())
    assert order[0] == "preflight"
    assert sorted(order) == sorted(set(order))
    assert order.index("elicit") < order.index("filter") < order.index("respond-peer") < order.index("judge-base")
    assert order.index("judge-base") < order.index("judge-peer") < order.index("select") < order.index("mix") < order.index("train")
    assert order[-1] == "report"
    assert is_true(run.status, "Complete")
    assert is_true(run.status, "Ready")
    assert run.status.progress == 100


def test_a_finished_run_needs_no_job_even_when_every_job_of_it_is_gone() -> None:
    run, _ = finish(a_run())
    plan = look(run)
    assert not plan.create
    assert not plan.delete
    assert is_true(plan.status, "Complete")


def test_stages_that_preflight_found_sealed_are_reused_and_say_so() -> None:
    run = a_run()
    run = replace(run, status=pinned(run, elicit="1" * 64, filter="2" * 64))
    plan = look(run)
    assert plan.status.stage("filter").state is State.REUSED  # type: ignore[union-attr]
    assert "the store holds this result" in plan.status.stage("elicit").reason  # type: ignore[union-attr]
    assert set(created(plan)) == {"respond-base", "respond-peer", "evaluate-base"}


def test_another_learning_rate_runs_training_and_what_reads_it_and_says_why() -> None:
    run, _ = finish(a_run())
    edited = replace(run, generation=2, spec=a_spec(training={"learningRate": 2e-6}))
    done, order = finish(edited)
    assert order == ["preflight", "train", "evaluate-tuned", "report"]
    assert "training.learningRate" in done.status.stage("train").reason  # type: ignore[union-attr]
    assert "stage train" in done.status.stage("evaluate-tuned").reason  # type: ignore[union-attr]


def test_an_edit_stops_the_jobs_of_stages_that_changed_and_leaves_the_others() -> None:
    run = a_run()
    run = replace(run, status=pinned(run))
    first = look(run)
    jobs = [as_seen(manifest) for manifest in first.create]
    assert {job.stage for job in jobs} == {"elicit", "evaluate-base"}
    edited = carried_out(run, first)
    edited = replace(edited, generation=2, spec=a_spec(seed=7))
    plan = look(edited, *jobs)
    assert created(plan) == ["preflight"]
    assert not plan.delete
    answered = look(carried_out(edited, plan), *jobs, preflight_done(plan.create[0]))
    assert [job.stage for job in answered.delete] == ["elicit"]
    assert created(answered) == ["elicit"]


def test_a_suspended_run_deletes_its_live_jobs_and_keeps_what_is_sealed() -> None:
    run, _ = finish(a_run(), never=("train",))
    train = run.status.stage("train")
    job = as_seen(next(m for m in look(replace(run, status=_forget(run.status, "train"))).create if _is(m, "train")))
    plan = look(replace(run, generation=2, spec=a_spec(suspend=True)), job)
    assert [deleted.stage for deleted in plan.delete] == ["train"]
    assert is_true(plan.status, "Suspended")
    assert plan.status.stage("mix").sealed is not None  # type: ignore[union-attr]
    assert train is not None


def _is(manifest: dict[str, object], stage: str) -> bool:
    return manifest["metadata"]["labels"]["rehearsal.dev/stage"] == stage  # type: ignore[index,no-any-return]


def _forget(status: RunStatus, name: str) -> RunStatus:
    stages = [
        stage.model_copy(update={"job": None, "state": State.PENDING}) if stage.name == name else stage for stage in status.stages
    ]
    return status.model_copy(update={"stages": stages})


def test_a_failed_stage_fails_the_run_with_the_workers_own_words_and_starts_nothing_more() -> None:
    run = a_run()
    run = replace(run, status=pinned(run))
    first = look(run)
    words = Termination(reason="TooManyRefused", message="4 of 5 rows were unfit")
    jobs = [as_seen(m, JobState.FAILED, termination=words, exit_code=66) for m in first.create]
    plan = look(carried_out(run, first), *jobs)
    assert not plan.create
    assert is_true(plan.status, "Failed")
    assert is_true(plan.status, "Stalled")
    assert "TooManyRefused: 4 of 5 rows were unfit" in plan.status.condition("Failed").message  # type: ignore[union-attr]
    assert plan.status.stage("elicit").exit_code == 66  # type: ignore[union-attr]


def test_a_request_to_look_again_clears_a_failure_and_gives_the_next_attempt_a_name_of_its_own() -> None:
    run = a_run()
    run = replace(run, status=pinned(run))
    first = look(run)
    failed = [as_seen(m, JobState.FAILED, exit_code=75) for m in first.create]
    run = carried_out(run, look(carried_out(run, first), *failed))
    run = replace(run, request="now")
    plan = look(run, *failed)
    assert created(plan) == ["preflight"]
    again = look(carried_out(run, plan), *failed, preflight_done(plan.create[0]))
    assert set(created(again)) == {"elicit", "evaluate-base"}
    names = {manifest["metadata"]["name"] for manifest in again.create}  # type: ignore[index]
    assert not names & {job.name for job in failed}


def test_an_engine_that_dies_at_every_start_fails_its_stage_and_its_job_is_deleted() -> None:
    run = a_run()
    run = replace(run, status=pinned(run))
    first = look(run)
    words = "the engine died 3 times at start, exit code 1: no such option"
    jobs = [as_seen(m, JobState.FAILED, hopeless=True, why=words, exit_code=75) for m in first.create]
    plan = look(carried_out(run, first), *jobs)
    assert {job.stage for job in plan.delete} == {"elicit", "evaluate-base"}
    assert "no such option" in plan.status.stage("elicit").message  # type: ignore[union-attr]
    later = look(carried_out(run, plan))
    assert not later.create
    assert is_true(later.status, "Failed")


@pytest.mark.fault(65)
def test_a_job_that_finished_without_a_word_is_created_again_under_a_new_name() -> None:
    run = a_run()
    run = replace(run, status=pinned(run))
    first = look(run)
    silent = [as_seen(m, JobState.COMPLETE) for m in first.create]
    plan = look(carried_out(run, first), *silent)
    assert set(created(plan)) == {"elicit", "evaluate-base"}
    assert not {m["metadata"]["name"] for m in plan.create} & {job.name for job in silent}  # type: ignore[index]


def test_a_seal_that_a_reader_found_missing_is_forgotten_and_made_again() -> None:
    run, _ = finish(a_run(), never=("select",))
    job = as_seen(
        next(m for m in look(replace(run, status=_forget(run.status, "select"))).create if _is(m, "select")),
        JobState.FAILED,
        exit_code=65,
        termination=Termination(reason="SealMissing", message="gone", void="filter"),
    )
    plan = look(run, job)
    assert plan.status.stage("filter").sealed is None  # type: ignore[union-attr]
    assert created(plan) == ["filter"]


def test_a_preflight_that_fails_ends_the_run_though_older_jobs_were_at_work() -> None:
    run = a_run()
    run = replace(run, status=pinned(run))
    first = look(run)
    working = [as_seen(m) for m in first.create]
    run = replace(carried_out(run, look(carried_out(run, first), *working)), request="again")
    asked = look(run, *working)
    words = Termination(reason="BadData", message="domain.jsonl, line 17")
    failed = as_seen(asked.create[0], JobState.FAILED, exit_code=64, termination=words)
    plan = look(carried_out(run, asked), *working, failed)
    assert {job.stage for job in plan.delete} == {"elicit", "evaluate-base"}
    assert is_true(plan.status, "Failed")
    assert "line 17" in plan.status.condition("Failed").message  # type: ignore[union-attr]


def test_a_store_that_lost_its_seals_has_them_made_again() -> None:
    run, _ = finish(a_run())
    run = replace(run, request="again")
    asked = look(run)
    plan = look(carried_out(run, asked), preflight_done(asked.create[0]))
    assert set(created(plan)) == {"elicit", "evaluate-base"}


def test_a_job_that_never_says_a_word_fails_in_the_end() -> None:
    run, jobs = a_run(), []
    for _ in range(20):
        plan = look(run, *jobs)
        run = carried_out(run, plan)
        jobs += [as_seen(m, JobState.COMPLETE) for m in plan.create]
    assert len(jobs) == 5
    assert is_true(run.status, "Failed")
    assert "without a word" in run.status.condition("Failed").message  # type: ignore[union-attr]


def test_a_new_attempt_shows_nothing_of_the_last_one() -> None:
    run = a_run()
    run = replace(run, status=pinned(run))
    first = look(run)
    jobs = [as_seen(m, progress=Progress(done=90, total=100, per_second=5)) for m in first.create]
    run = carried_out(run, look(carried_out(run, first), *jobs))
    failed = [replace(job, state=JobState.FAILED, exit_code=75) for job in jobs]
    run = replace(carried_out(run, look(run, *failed)), request="again")
    asked = look(run, *failed)
    entry = look(carried_out(run, asked), *failed, preflight_done(asked.create[0])).status.stage("elicit")
    assert entry is not None
    assert (entry.done, entry.total, entry.per_second, entry.started_at, entry.finished_at) == (0, 0, 0, None, None)
    assert entry.output == f"research/elicit/{entry.fingerprint}"


def test_an_edit_starts_again_with_one_round_of_elicitation() -> None:
    run = a_run()
    run = replace(run, status=pinned(run).model_copy(update={"rounds": 2}), generation=2)
    asked = look(run)
    assert look(carried_out(run, asked), preflight_done(asked.create[0])).status.rounds == 1


def test_an_edit_in_a_later_round_of_elicitation_leaves_that_round_alone() -> None:
    run = judged()
    first = look(run)
    short = as_seen(first.create[0], JobState.COMPLETE, termination=Termination(another_round=2))
    second = look(carried_out(run, first), short)
    running = as_seen(second.create[0])
    edited = replace(carried_out(run, second), generation=2, spec=a_spec(training={"learningRate": 2e-6}))
    asked = look(edited, short, running)
    plan = look(carried_out(edited, asked), short, running, preflight_done(asked.create[0], dict(run.status.found)))
    assert plan.status.rounds == 2
    assert not plan.delete
    assert created(plan) == []


def test_a_preflight_of_another_release_fails_the_run_in_words() -> None:
    run = a_run()
    asked = look(run)
    odd = as_seen(asked.create[0], JobState.COMPLETE, termination=Termination(inputs={"baseModel": "b" * 64}))
    plan = look(carried_out(run, asked), odd)
    assert is_true(plan.status, "Failed")
    assert "ReleaseMismatch: preflight did not name domain" in plan.status.condition("Failed").message  # type: ignore[union-attr]


def judged() -> Run:
    """A run whose first round is sealed: selection is next."""
    run = a_run()
    stages = ("elicit", "filter", "respond-base", "respond-peer", "judge-base", "judge-peer", "evaluate-base")
    return replace(run, status=pinned(run, **dict.fromkeys(stages, "1" * 64)))


def test_selection_that_falls_short_adds_a_round_and_runs_again_once_all_of_it_is_judged() -> None:
    run = judged()
    first = look(run)
    assert created(first) == ["select"]
    why = "420 of 600 conversations are whole after 1 round"
    jobs = [as_seen(first.create[0], JobState.COMPLETE, termination=Termination(another_round=2, message=why))]
    plan = look(carried_out(run, first), *jobs)
    assert plan.status.rounds == 2
    assert plan.status.stage("select").reason == why  # type: ignore[union-attr]
    order = []
    while created(plan) and created(plan) != ["select"]:
        order += created(plan)
        jobs += [sealed_by(manifest) for manifest in plan.create]
        run = carried_out(run, plan)
        plan = look(run, *jobs)
    assert order == ["elicit2", "filter2", "respond2-base", "respond2-peer", "judge2-base", "judge2-peer"]
    assert created(plan) == ["select"]
    assert created(look(carried_out(run, plan), *jobs)) == ["select"]


def test_what_was_lost_on_the_way_is_told_in_the_status_as_a_funnel() -> None:
    run = judged()
    first = look(run)
    lengths = {"instructions.accepted": 80, "instructions.kept": 70, "answers.all": 900, "answers.kept": 300}
    counts = {"rounds": 1, "elicited": 640, "accepted": 630, "considered": 625, "answered": 601, "judged": 600, "answers": 1875}
    facts = counts | {"answersCutOff": 210, "refused.empty": 10, "alpha": 0.5}
    facts |= {f"medianLength.{name}": length for name, length in lengths.items()}
    words = "25 of 625 instructions became no conversation"
    lost = {"answers-truncated": 25}
    word = Termination(fingerprint="f", manifest_digest="f" * 64, rows=600, refused=lost, facts=facts, message=words)
    status = look(carried_out(run, first), as_seen(first.create[0], JobState.COMPLETE, termination=word)).status
    assert status.funnel is not None
    assert status.funnel.wire() == counts | {
        **{"kept": 600, "answersCutOff": 210, "lost": {"empty": 10, "answers-truncated": 25}},
        **{"instructionLength": 80, "instructionLengthKept": 70, "answerLength": 900, "answerLengthKept": 300},
    }
    assert status.stage("select").message == words  # type: ignore[union-attr]


def test_a_waiting_job_whose_queue_was_corrected_is_replaced_and_a_running_one_is_not() -> None:
    run = a_run()
    run = replace(run, status=pinned(run))
    first = look(run)
    elicit, evaluate = first.create
    edited = replace(carried_out(run, first), generation=2, spec=a_spec(queueName="gpu"))
    edited = replace(edited, status=edited.status.model_copy(update={"inputs_key": pinned(edited).inputs_key}))
    plan = look(edited, as_seen(elicit, JobState.WAITING), as_seen(evaluate, JobState.RUNNING))
    assert [job.stage for job in plan.delete] == ["elicit"]


@pytest.mark.fault(19)
def test_a_spec_that_cannot_be_read_is_refused_by_field_and_nothing_starts() -> None:
    plan = look(a_run(spec={"baseModel": {"uri": "store://a"}, "domain": {"uri": "store://d"}, "trainign": {}}))
    assert not plan.create
    assert is_true(plan.status, "Stalled")
    assert "spec.trainign: there is no such field" in plan.status.condition("Stalled").message  # type: ignore[union-attr]


def test_a_store_that_the_platform_does_not_have_is_refused_by_name() -> None:
    plan = look(a_run(spec=a_spec(store="attic")))
    assert "no store 'attic'; it has default" in plan.status.condition("Failed").message  # type: ignore[union-attr]


@pytest.mark.fault(16)
def test_a_run_under_deletion_creates_nothing() -> None:
    assert not look(a_run(deleting=True)).create


@pytest.mark.fault(66)
def test_why_a_job_has_no_pod_is_asked_once_it_has_had_time_to_get_one_and_then_now_and_then() -> None:
    first = look(a_run())
    young = as_seen(first.create[0], JobState.WAITING, created_at="2026-01-01T11:59:55Z")
    old = replace(young, created_at="2026-01-01T11:59:45Z")
    run = carried_out(a_run(), first)
    assert [first.look_again, look(run, young).look_again, look(run, old).look_again] == [10, 10, 30]


@pytest.mark.fault(24)
def test_a_pod_that_cannot_be_scheduled_is_told_in_the_schedulers_words() -> None:
    run = a_run()
    run = replace(run, status=pinned(run))
    first = look(run)
    words = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    plan = look(carried_out(run, first), *[as_seen(m, JobState.WAITING, waits=words) for m in first.create])
    assert plan.status.stage("elicit").state is State.WAITING  # type: ignore[union-attr]
    assert plan.status.stage("elicit").message == words  # type: ignore[union-attr]
    assert not plan.create


def test_progress_figures_are_written_at_most_once_in_the_platforms_interval() -> None:
    run = a_run()
    run = replace(run, status=pinned(run))
    first = look(run)
    jobs = [as_seen(m, progress=Progress(done=10, total=100, per_second=2.0)) for m in first.create]
    run = carried_out(run, look(carried_out(run, first), *jobs))
    moved = [replace(job, progress=Progress(done=20, total=100, per_second=2.0)) for job in jobs]
    soon = decide(seen(run, *moved), PLATFORM, NOON + timedelta(seconds=10))
    late = decide(seen(run, *moved), PLATFORM, NOON + timedelta(seconds=31))
    assert soon.status == run.status
    assert late.status.stage("elicit").done == 20  # type: ignore[union-attr]


@pytest.mark.fault(22)
def test_a_clock_that_leaps_back_makes_no_negative_duration_and_fails_nothing() -> None:
    run = a_run()
    run = replace(run, status=pinned(run))
    first = look(run)
    jobs = [as_seen(m, devices=8, started_at="2026-01-01T12:30:00Z") for m in first.create]
    plan = decide(seen(replace(carried_out(run, first), spec=a_spec(suspend=True)), *jobs), PLATFORM, NOON)
    assert plan.status.usage.gpu_hours == 0
    assert not is_true(plan.status, "Failed")


def test_usage_is_counted_once_for_every_job() -> None:
    run = a_run()
    run = replace(run, status=pinned(run))
    first = look(run)
    jobs = [as_seen(m, JobState.FAILED, devices=8, exit_code=70) for m in first.create]
    run = carried_out(run, look(carried_out(run, first), *jobs))
    assert run.status.usage.gpu_hours == pytest.approx(8.0)
    assert look(run, *jobs).status.usage.gpu_hours == pytest.approx(8.0)


@pytest.mark.fault(7)
def test_the_same_observation_always_gives_the_same_plan() -> None:
    run = a_run()
    run = replace(run, status=pinned(run))
    assert look(run) == look(run)
    assert INPUTS["baseModel"] == run.status.inputs["baseModel"]
