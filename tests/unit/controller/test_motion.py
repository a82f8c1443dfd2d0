"""How long a stage may stand still before it is said that it does."""

from datetime import timedelta

import pytest

from rehearsal.api.messages import Progress
from rehearsal.api.status import StageStatus, State
from rehearsal.controller.jobs import JobState, JobView
from rehearsal.controller.ledger import stamp
from rehearsal.controller.motion import FIRST, LAST, USUAL, motionless
from tests.unit.worlds import NOON

pytestmark = pytest.mark.fault(68)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


def at(time: timedelta) -> str:
    return stamp(NOON + time)


def a_job(**changes: object) -> JobView:
    known = {"name": "j", "uid": "u", "run": "r", "run_uid": "ru", "stage": "train", "fingerprint": "f", "attempt": 0}
    known |= {"execution": "", "supplies": "", "devices": 8, "state": JobState.RUNNING, "at": "pod p on node n"}
    return JobView(**(known | {"working_since": at(timedelta(0))} | changes))  # type: ignore[arg-type]


def an_entry(done: int, total: int = 1000, moved: timedelta | None = None, **changes: object) -> StageStatus:
    known = {"name": "train", "state": State.RUNNING, "job": "j", "done": done, "total": total, "started_at": at(timedelta(0))}
    return StageStatus.model_validate(known | {"moved_at": at(moved) if moved is not None else None} | changes)


@pytest.mark.parametrize(
    ("entry", "limit"),
    [
        (an_entry(0), FIRST),
        (an_entry(0, moved=MINUTE), MINUTE + FIRST),
        (an_entry(500, moved=MINUTE), MINUTE + USUAL),
        (an_entry(2, moved=HOUR, unit="steps"), HOUR + 4 * HOUR / 2),
        (an_entry(1000, moved=HOUR), HOUR + LAST),
        (an_entry(500, moved=-HOUR, started_at=at(-2 * HOUR)), FIRST),
    ],
    ids=["nothing yet", "figures, nothing done", "quick rows", "steps of half an hour", "exporting", "its pod was replaced"],
)
def test_a_unit_may_take_as_long_as_units_of_its_stage_do(entry: StageStatus, limit: timedelta) -> None:
    assert motionless(entry, a_job(), NOON + limit - SECOND) is None
    found = motionless(entry, a_job(), NOON + limit + SECOND)
    assert found
    assert found.reason == "NoProgress"
    assert "pod p on node n" in found.message


@pytest.mark.parametrize(
    ("entry", "job"),
    [
        (None, a_job()),
        (an_entry(0, total=0), a_job()),
        (an_entry(1, total=3, unit="tasks"), a_job()),
        (an_entry(5), a_job(working_since=None)),
        (an_entry(5), a_job(state=JobState.WAITING)),
        (an_entry(5, job="another"), a_job()),
        (an_entry(5), a_job(progress=Progress(done=6, total=1000))),
    ],
    ids=["not recorded", "no figures", "benchmarks", "its engine loads", "no node", "of the Job before", "just moved"],
)
def test_what_cannot_be_judged_is_not(entry: StageStatus | None, job: JobView) -> None:
    assert motionless(entry, job, NOON + 100 * HOUR) is None
