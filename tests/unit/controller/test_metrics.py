"""Metrics: every end of a stage is counted once, and nothing names a run."""

import pytest

import rehearsal
from rehearsal.api.status import Condition, RunStatus, StageStatus, State
from rehearsal.controller.metrics import Metrics

RUN = ("research", "llama3-medical")


def status(*stages: StageStatus, condition: str | None = None) -> RunStatus:
    told = [
        Condition(
            type=type_,
            status=str(type_ == condition),
            reason="R",
            last_transition_time="2026-01-01T00:00:00Z",
            observed_generation=1,
        )
        for type_ in ("Complete", "Failed", "Suspended", "Ready", "Reconciling", "Stalled")
    ]
    return RunStatus(stages=list(stages), conditions=told if condition else [])


def stage(name: str, state: State, kind: str = "train", **more: object) -> StageStatus:
    return StageStatus.model_validate({"name": name, "kind": kind, "state": state, "fingerprint": "f1"} | more)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


TRAINED = stage(
    "train", State.SUCCEEDED, started_at="2026-01-01T00:00:00Z", finished_at="2026-01-01T01:00:00Z", gpu_seconds=28_800.0
)


def test_a_stage_that_ends_is_counted_with_its_duration_and_gpu_seconds() -> None:
    metrics = Metrics()
    metrics.recorded(RUN, status(stage("train", State.RUNNING)), status(TRAINED))
    assert value(metrics, "rehearsal_stages_total", kind="train", state="Succeeded") == 1
    assert value(metrics, "rehearsal_stage_seconds_sum", kind="train") == 3600
    assert value(metrics, "rehearsal_gpu_seconds_total", kind="train") == 28_800


def test_an_end_that_was_recorded_before_is_not_counted_again() -> None:
    metrics = Metrics()
    metrics.recorded(RUN, status(), status(TRAINED))
    metrics.recorded(RUN, status(TRAINED), status(TRAINED))
    metrics.recorded(RUN, status(TRAINED), status(TRAINED.model_copy(update={"reason": "other words"})))
    assert value(metrics, "rehearsal_stages_total", kind="train", state="Succeeded") == 1


@pytest.mark.parametrize("change", [{"fingerprint": "f2"}, {"attempt": 1}])
def test_another_output_or_attempt_is_another_end(change: dict[str, object]) -> None:
    metrics, failed = Metrics(), stage("train", State.FAILED)
    metrics.recorded(RUN, status(), status(failed))
    metrics.recorded(RUN, status(failed), status(failed.model_copy(update=change)))
    assert value(metrics, "rehearsal_stages_total", kind="train", state="Failed") == 2


def test_a_reused_stage_costs_nothing() -> None:
    metrics = Metrics()
    reused = TRAINED.model_copy(update={"state": State.REUSED})
    metrics.recorded(RUN, status(), status(reused))
    assert value(metrics, "rehearsal_stages_total", kind="train", state="Reused") == 1
    assert value(metrics, "rehearsal_stage_seconds_count", kind="train") is None
    assert value(metrics, "rehearsal_gpu_seconds_total", kind="train") is None


def test_stages_of_members_count_under_their_kind() -> None:
    metrics = Metrics()
    ended = [stage(name, State.SUCCEEDED, "respond") for name in ("respond-qwen", "respond-base", "respond2-base")]
    metrics.recorded(RUN, status(), status(*ended))
    assert value(metrics, "rehearsal_stages_total", kind="respond", state="Succeeded") == 3


def test_runs_are_counted_by_how_they_stand() -> None:
    metrics = Metrics()
    metrics.recorded(RUN, status(), status(condition="Reconciling"))
    metrics.recorded(("research", "b"), status(), status(condition="Complete"))
    metrics.recorded(RUN, status(), status(condition="Failed"))
    metrics.recorded(("research", "c"), status(), status(condition="Failed"))
    metrics.gone(("research", "c"))
    metrics.page()
    found = {name: value(metrics, "rehearsal_runs", condition=name) for name in ("Complete", "Failed", "Reconciling", "Stalled")}
    assert found == {"Complete": 1, "Failed": 1, "Reconciling": 0, "Stalled": 0}


def test_no_name_of_a_run_is_on_the_page_and_the_release_is() -> None:
    metrics = Metrics()
    metrics.recorded(RUN, status(), status(TRAINED, condition="Complete"))
    metrics.api_call("patch", "ReconstructionRun/status", 200)
    page = metrics.page().decode()
    assert not any(name in page for name in RUN)
    assert f'rehearsal_build_info{{version="{rehearsal.__version__}"}} 1.0' in page
    assert 'rehearsal_api_calls_total{code="200",kind="ReconstructionRun/status",verb="patch"} 1.0' in page


def test_two_operators_in_one_process_share_no_figures() -> None:
    one, other = Metrics(), Metrics()
    one.error("Bug")
    assert value(other, "rehearsal_errors_total", kind="Bug") is None
