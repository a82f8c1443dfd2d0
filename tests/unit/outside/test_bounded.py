"""Whatever runs in the child, the caller gets an answer or an error in words."""

import os
import resource
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from rehearsal.outside.bounded import Bounded, OutOfBounds, Raised

PROGRAM = "tests.unit.outside.hostile"
MEMORY = 256 * 2**20


@pytest.fixture(scope="module")
def bounded() -> Iterator[Bounded]:
    with Bounded(PROGRAM, "as it was set up", seconds=1, memory=MEMORY) as child:
        yield child


def test_an_answer_comes_back_and_the_child_lives_on(bounded: Bounded) -> None:
    first = bounded.call(["process", None])
    assert first != os.getpid()
    assert bounded.call(["echo", {"text": "ä\ud83d\x00", "ids": [1, 2]}]) == {"text": "ä\ud83d\x00", "ids": [1, 2]}
    assert bounded.call(["process", None]) == first


@pytest.mark.parametrize(
    ("deed", "words"),
    [
        (["spin", None], "took more than 1 s of processor time"),
        (["grow", 10**10], "needed more than 256 MiB of memory"),
        (["abort", None], "ended its process (SIGABRT); it may have needed more than 256 MiB of memory"),
        (["kill", None], "ended its process (SIGKILL); it may have needed more than 256 MiB of memory"),
    ],
)
def test_a_breach_is_an_error_in_words_and_the_next_call_is_answered(bounded: Bounded, deed: list[object], words: str) -> None:
    with pytest.raises(OutOfBounds) as breach:
        bounded.call(deed)
    assert str(breach.value) == words
    assert bounded.call(["setup", None]) == "as it was set up"


def test_no_file_is_written_and_data_can_be_what_is_limited(bounded: Bounded, tmp_path: Path) -> None:
    with pytest.raises(Raised) as refused:
        bounded.call(["write", str(tmp_path / "file")])
    assert refused.value.kind == "OSError"
    assert (tmp_path / "file").read_bytes() == b""
    with Bounded(PROGRAM, seconds=5, memory=MEMORY, limit="DATA") as small:
        with pytest.raises(OutOfBounds, match="needed more than 256 MiB of memory"):
            small.call(["grow", 10**9])
        assert small.call(["limits", None]) == resource.RLIM_INFINITY


def test_a_call_that_waits_for_ever_is_ended_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    with Bounded(PROGRAM, seconds=1) as waiting:
        assert waiting.call(["echo", 1]) == 1
        monkeypatch.setattr("rehearsal.outside.bounded.GRACE_SECONDS", 0)
        monkeypatch.setattr("rehearsal.outside.bounded.PATIENCE", 1)
        with pytest.raises(OutOfBounds, match=r"^took more than 1 s$"):
            waiting.call(["wait", 3600])


@pytest.mark.parametrize(("deed", "kind"), [("recurse", "RecursionError"), ("panic", "PanicError"), ("set", "TypeError")])
def test_whatever_is_raised_is_told_by_its_type(bounded: Bounded, deed: str, kind: str) -> None:
    before = bounded.call(["process", None])
    with pytest.raises(Raised) as raised:
        bounded.call([deed, None])
    assert raised.value.kind == kind
    assert bounded.call(["process", None]) == before


def test_what_cannot_be_prepared_is_told_at_every_call() -> None:
    with Bounded(PROGRAM, "broken") as broken:
        for _ in range(2):
            with pytest.raises(Raised, match="nothing to prepare from"):
                broken.call(["echo", 1])


def test_what_a_library_prints_is_no_answer(bounded: Bounded) -> None:
    assert bounded.call(["print", "0" * 100]) is None
    assert bounded.call(["echo", 1]) == 1


def test_the_child_has_no_secret_in_its_environment(bounded: Bounded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    with Bounded(PROGRAM) as child:
        environment = child.call(["environment", None])
    assert isinstance(environment, dict)
    assert "hunter2" not in environment.values()


def test_threads_share_a_child(bounded: Bounded) -> None:
    answers: list[object] = []
    threads = [threading.Thread(target=lambda i=i: answers.append(bounded.call(["echo", i]))) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, answers)) == [str(i) for i in range(8)]


def test_a_child_that_was_closed_is_gone_and_the_next_call_starts_another() -> None:
    child = Bounded(PROGRAM)
    number = child.call(["process", None])
    child.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int(str(number)), 0)
    assert child.call(["process", None]) != number
    child.close()


def test_a_call_that_a_signal_breaks_off_leaves_no_answer_for_the_next_one() -> None:
    def broken_off(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    with Bounded(PROGRAM) as child:
        assert child.call(["echo", "first"]) == "first"
        before = signal.signal(signal.SIGALRM, broken_off)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            child.call(["wait", 0.2])
        signal.signal(signal.SIGALRM, before)
        assert child.call(["echo", "second"]) == "second"
