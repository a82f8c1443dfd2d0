"""Visits: what a run's trouble does to that run, and not to the others."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from rehearsal.api.status import Condition, RunStatus, StageStatus, State
from rehearsal.cluster.port import ClusterError, Conflict, Forbidden, Invalid, NotFound, Unavailable
from rehearsal.controller.metrics import Metrics
from rehearsal.controller.plan import Plan
from rehearsal.controller.queue import Key, Queue
from rehearsal.controller.reconcile import Reconciled
from rehearsal.controller.visits import VISIT_SECONDS, Visits
from tests.unit.controller.virtual_time import now, virtual_time

A, B = ("ns", "a"), ("ns", "b")
COMPLETE = Condition(
    type="Complete", status="True", reason="Complete", last_transition_time="2026-01-01T00:00:00Z", observed_generation=1
)


def turn(look_again: float | None = None, status: RunStatus | None = None) -> Reconciled:
    status = status or RunStatus()
    return Reconciled(RunStatus(), Plan(status, look_again=look_again), status)


@dataclass
class Bench:
    """Visits of runs whose reconcile answers, or raises, what was put down for them; afterwards nothing comes of it."""

    answers: dict[Key, list[Reconciled | Exception | None]]
    seen: list[tuple[float, Key]] = field(default_factory=list)
    refusals: list[tuple[Key, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.queue, self.metrics = Queue(jitter=lambda: 1.0), Metrics()
        self.visits = Visits(self.reconcile, self.refused, self.queue, self.metrics)

    async def reconcile(self, key: Key) -> Reconciled | None:
        self.seen.append((now(), key))
        answers = self.answers.get(key, [])
        answer = answers.pop(0) if answers else turn()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def refused(self, key: Key, error: Exception) -> None:
        self.refusals.append((key, str(error)))

    async def work(self, seconds: float, *keys: Key) -> None:
        """Let two workers work for that long, after waking these keys."""
        for key in keys:
            self.queue.wake(key)
        workers = [asyncio.create_task(self.visits.work()) for _ in range(2)]
        await asyncio.sleep(seconds)
        self.queue.close()
        await asyncio.gather(*workers)

    def times(self, key: Key) -> list[float]:
        return [when for when, seen in self.seen if seen == key]

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


async def held(queue: Queue) -> Key:
    key = await queue.take()
    assert key
    return key


@virtual_time
async def test_a_run_is_looked_at_again_when_its_plan_asks_for_it() -> None:
    bench = Bench({A: [turn(look_again=30), turn(look_again=60)]})
    await bench.work(3600, A)
    assert bench.times(A) == pytest.approx([0, 30, 90])


@virtual_time
async def test_an_unfinished_run_without_a_date_is_left_to_the_sweep() -> None:
    bench = Bench({A: [turn()], B: [turn(status=RunStatus(conditions=[COMPLETE]))]})
    await bench.work(3600, A, B)
    assert bench.visits.undated() == {A}


@virtual_time
async def test_a_run_that_is_gone_is_forgotten() -> None:
    bench = Bench({A: [turn(), None]})
    bench.queue.wake(A)
    await bench.visits.visit(await held(bench.queue))
    await bench.work(3600, A)
    assert bench.times(A) == [0, 0]
    assert bench.visits.undated() == frozenset()
    assert bench.count("rehearsal_reconciles_total", result="gone") == 1


@pytest.mark.fault(4)
@virtual_time
async def test_after_a_conflict_a_run_is_looked_at_again_at_once() -> None:
    bench = Bench({A: [Conflict("changed")]})
    await bench.work(3600, A)
    assert bench.times(A) == [0, 0]
    assert bench.count("rehearsal_reconciles_total", result="conflict") == 1


@virtual_time
async def test_conflicts_in_a_row_do_not_spin() -> None:
    bench = Bench({A: [Conflict("changed")] * 4})
    await bench.work(3600, A)
    assert bench.times(A) == [0, 0, 1, 3, 7]


@pytest.mark.fault(16)
@virtual_time
async def test_a_run_deleted_under_a_look_is_no_error_and_one_that_stays_unfound_is(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench({A: [NotFound("runs a not found"), None], B: [NotFound("namespaces ns not found")] * 3})
    await bench.work(3600, A, B)
    assert (bench.times(A), bench.times(B)) == ([0, 0], [0, 0, 1, 3])
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["ns/b"]


@pytest.mark.fault(16)
@virtual_time
async def test_a_run_edited_and_deleted_under_two_looks_is_no_error_and_does_not_spin(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench({A: [Conflict("changed"), NotFound("runs a not found"), Conflict("changed"), NotFound("runs a not found"), None]})
    await bench.work(3600, A)
    assert bench.times(A) == [0, 0, 1, 3, 7]
    assert (bench.count("rehearsal_reconciles_total", result="conflict"), caplog.records) == (4, [])


@pytest.mark.fault(14)
@virtual_time
async def test_an_overloaded_server_is_left_alone_for_as_long_as_it_asks() -> None:
    bench = Bench({A: [Unavailable("too many requests", retry_after=17)]})
    await bench.work(3600, A)
    assert bench.times(A)[1] >= 17


@pytest.mark.fault(13)
@virtual_time
async def test_an_absent_server_is_asked_ever_more_rarely_and_the_run_goes_on_when_it_is_back() -> None:
    bench = Bench({A: [Unavailable("refused")] * 8})
    await bench.work(3600, A)
    assert bench.times(A) == [0, 1, 3, 7, 15, 31, 63, 127, 255]
    assert bench.count("rehearsal_errors_total", kind="Unavailable") == 8


@pytest.mark.fault(15)
@virtual_time
async def test_a_refused_call_is_told_to_its_run_and_the_other_runs_go_on() -> None:
    bench = Bench({A: [Forbidden("may not create Job: no")] * 5, B: [turn(look_again=1)] * 10})
    await bench.work(3600, A, B)
    assert set(bench.refusals) == {(A, "may not create Job: no")}
    assert len(bench.times(B)) == 11


@pytest.mark.fault(69)
@pytest.mark.parametrize(
    "error",
    [
        Unavailable("HTTP 500"),
        Unavailable("busy", retry_after=1),
        ClusterError("odd"),
        Conflict("changed"),
        NotFound("gone"),
        KeyError("oops"),
    ],
    ids=["5xx", "429", "odd", "conflict", "not found", "a bug"],
)
@virtual_time
async def test_any_trouble_that_lasts_a_minute_is_told_to_its_run_and_none_that_does_not(error: Exception) -> None:
    bench = Bench({A: [error] * 9, B: [error] * 4})
    await bench.work(3600, A, B)
    assert {key for key, _ in bench.refusals} == {A}
    assert bench.refusals[0] == (A, str(error))


@pytest.mark.fault(69)
@virtual_time
async def test_what_a_look_recorded_is_counted_though_a_job_could_not_be_created() -> None:
    sealed = RunStatus(stages=[StageStatus(name="elicit", kind="elicit", state=State.SUCCEEDED, gpu_seconds=7)])
    failed = Reconciled(RunStatus(), Plan(sealed), sealed, Unavailable("webhook is down"))
    raced = Reconciled(RunStatus(), Plan(RunStatus()), RunStatus(), Conflict("changed"))
    bench = Bench({A: [failed, Reconciled(sealed, Plan(sealed), sealed)], B: [raced]})
    await bench.work(30, A, B)
    assert bench.count("rehearsal_gpu_seconds_total", kind="elicit") == 7
    assert bench.count("rehearsal_errors_total", kind="Unavailable") == 1
    assert (bench.times(A), bench.times(B)) == ([0, 1], [0, 0])


@pytest.mark.fault(69)
@virtual_time
async def test_a_look_that_hangs_is_told_and_words_that_cannot_be_written_stop_no_worker() -> None:
    bench = Bench({})

    async def unwritable(key: Key, error: Exception) -> None:
        bench.refusals.append((key, type(error).__name__))
        raise KeyError("cannot be read")

    hung: Callable[[Key], Awaitable[Reconciled | None]] = lambda key: asyncio.sleep(1e9)  # noqa: E731
    bench.visits = Visits(hung, unwritable, bench.queue, bench.metrics)
    await bench.work(3 * VISIT_SECONDS, A)
    assert bench.refusals[0] == (A, "TimeoutError")


@pytest.mark.fault(15)
@virtual_time
async def test_trouble_is_logged_once_a_change(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench({A: [Forbidden("may not create Job: no")] * 5 + [Invalid("spec.x: wrong")] * 2})
    with caplog.at_level(logging.INFO):
        await bench.work(3600, A)
    assert [record.getMessage().partition(";")[0] for record in caplog.records] == [
        "ns/a: Forbidden: may not create Job: no",
        "ns/a: Invalid: spec.x: wrong",
        "ns/a: visits succeed again",
    ]


@pytest.mark.fault(19)
@virtual_time
async def test_a_run_that_meets_a_bug_of_ours_stops_no_other_run(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench({A: [KeyError("oops")] * 3})
    await bench.work(3600, A, B)
    assert bench.times(B) == [0]
    assert bench.count("rehearsal_errors_total", kind="Bug") == 3
    assert "Traceback" in caplog.text


@virtual_time
async def test_a_visit_that_hangs_is_given_up() -> None:
    bench = Bench({})
    hung: Callable[[Key], Awaitable[Reconciled | None]] = lambda key: asyncio.sleep(1e9)  # noqa: E731
    bench.visits = Visits(hung, bench.refused, bench.queue, bench.metrics)
    await bench.work(VISIT_SECONDS + 0.5, A)
    assert bench.count("rehearsal_errors_total", kind="Timeout") == 1
