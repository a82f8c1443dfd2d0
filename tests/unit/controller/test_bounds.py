"""No status is refused for its size, and none moves a terminal."""

import pytest

from rehearsal.api.status import Condition, RunStatus, StageStatus
from rehearsal.controller.bounds import bounded


def a_status(**changes: object) -> RunStatus:
    return RunStatus(stages=[StageStatus(name="elicit"), StageStatus(name="train")]).model_copy(update=changes)


def test_a_status_within_its_bounds_is_left_as_it_is() -> None:
    status = a_status()
    assert bounded(status) is status


@pytest.mark.parametrize(
    "changes",
    [
        {"message": "x" * 5000},
        {"reason": "x" * 5000},
        {"output": "x" * 5000},
        {"unit": "x" * 50},
        {"started_at": "2026-01-01T00:00:00Z" * 9},
        {"refused": {str(i): 1 for i in range(500)}},
        {"facts": {str(i): 1.5 for i in range(500)}},
    ],
)
def test_what_a_stage_says_is_cut_to_what_the_schema_takes(changes: dict[str, object]) -> None:
    stage = StageStatus(name="elicit").model_copy(update=changes)
    cut = bounded(a_status(stages=[stage]))
    assert RunStatus.model_validate(cut.model_dump()) == cut
    assert cut != a_status(stages=[stage])


def test_a_text_that_was_cut_says_so() -> None:
    condition = Condition(type="Ready", status="False", reason="A", last_transition_time="", observed_generation=1)
    cut = bounded(a_status(conditions=[condition.model_copy(update={"message": "x" * 2000})]))
    assert cut.conditions[0].message == "x" * 1023 + "…"


def test_the_words_of_an_engine_or_a_kubelet_are_printable() -> None:
    stage = StageStatus(name="elicit", message="EngineUnusable: the engine died 3 times at start: \x1b[2J\x1b]0;pwned\a\u202e")
    cut = bounded(a_status(stages=[stage]))
    assert cut.stages[0].message == r"EngineUnusable: the engine died 3 times at start: \x1b[2J\x1b]0;pwned\x07\u202e"
    assert bounded(cut) == cut


def test_of_the_jobs_that_were_counted_the_latest_are_remembered() -> None:
    cut = bounded(a_status(folded=[f"uid-{i}" for i in range(2000)]))
    assert cut.folded[-1] == "uid-1999"
    assert len(cut.folded) == 1024
