"""No end of a stage program is without a word, whatever is raised; and every word can be printed."""

import errno
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rehearsal.api.messages import CorruptInput, ExitCode, Refused, Termination
from rehearsal.outside.text import is_printable
from rehearsal.worker import __main__ as worker
from rehearsal.worker.context import log
from tests.unit.worker.models_in_store import a_context, a_spec, a_store, put_model


class PanicError(BaseException):
    """As pyo3's PanicException: no Exception."""


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def endless(_: object) -> None:
    endless(_)


def ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deed: Any) -> tuple[int, Termination]:
    """Run `main` with a program that does the deed; return its exit code and last word."""
    store = a_store(tmp_path / "store")
    for path in ("base", "peer"):
        put_model(store, path)
    task = a_context(tmp_path, a_spec(), "elicit", store).task
    (tmp_path / "task.json").write_text(task.model_dump_json(by_alias=True))
    program = ModuleType("rehearsal.worker.elicit")
    program.run = deed  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, program.__name__, program)
    word = tmp_path / "word"
    arguments = ["elicit", "--task", tmp_path / "task.json", "--scratch", tmp_path, "--termination-log", word]
    monkeypatch.setattr(sys, "argv", ["worker", *map(str, arguments)])
    code = worker.main()
    return code, Termination.model_validate_json(word.read_bytes())


def raising(error: BaseException) -> Any:
    def deed(_: object) -> None:
        raise error

    return deed


@pytest.mark.parametrize(
    ("deed", "code", "words"),
    [
        (raising(PanicError("called `unwrap()`")), ExitCode.BUG, "unforeseen PanicError"),
        (raising(SystemExit(0)), ExitCode.BUG, "unforeseen SystemExit"),
        (raising(GeneratorExit()), ExitCode.BUG, "unforeseen GeneratorExit"),
        (raising(MemoryError()), ExitCode.BUG, "unforeseen MemoryError"),
        (endless, ExitCode.BUG, "unforeseen RecursionError"),
        (raising(UnspeakableError()), ExitCode.BUG, "unforeseen UnspeakableError"),
        (raising(ValueError("\x1b[2J\u202e")), ExitCode.BUG, "unforeseen ValueError"),
        (raising(ValueError("\ud83d")), ExitCode.BUG, "unforeseen ValueError"),
        (raising(Refused("half \ud83d \x1b[2J\u202e\x00 of it\nand more")), ExitCode.REFUSED, "half \\ud83d \\x1b[2J\\u202e\\x00 of it\\n"),
        (raising(Refused("x" * 100_000, "B" * 100)), ExitCode.REFUSED, "x" * 2000),
        (raising(CorruptInput("\udfff", stage="\x1b")), ExitCode.CORRUPT_INPUT, "\\udfff"),
        (raising(OSError(errno.ENOSPC, "No space left on device", "/scratch/\ud83d")), ExitCode.DISK, "/scratch/\\ud83d"),
        (lambda _: Termination(facts={"license": "\x1b[2J", "loss": float("nan")}), ExitCode.DONE, None),
    ],
)  # fmt: skip
def test_whatever_is_raised_there_is_a_word(tmp_path, monkeypatch, capfd, deed, code, words):
    told, word = ended(tmp_path, monkeypatch, deed)
    assert told == code
    assert word.message is None if words is None else words in str(word.message)
    assert all(
        is_printable(text) for text in (word.message or "", word.reason or "", word.void or "", *map(str, word.facts.values()))
    )
    assert is_printable(capfd.readouterr().err.replace("\n", ""))


def test_where_even_the_word_cannot_be_made_there_is_one(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "encoded", raising(MemoryError()))
    code, word = ended(tmp_path, monkeypatch, raising(Refused("no")))
    assert (code, word.reason) == (ExitCode.REFUSED, "Bug")


def test_a_closed_log_keeps_nobody_from_the_word(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    code, word = ended(tmp_path, monkeypatch, raising(Refused("no")))
    assert (code, word.message) == (ExitCode.REFUSED, "no")


def test_a_word_is_read_as_it_may_be_shown_whoever_wrote_it():
    raw = json.dumps({"reason": "\x1b", "message": "\u202e", "facts": {"\x07": "\ud83d"}, "refused": {"\x00": 1}})
    word = Termination.model_validate_json(raw.replace("\\ud83d", "?"))
    assert (word.reason, word.message, word.facts, word.refused) == ("\\x1b", "\\u202e", {"\\x07": "?"}, {"\\x00": 1})


def test_a_line_of_the_log_is_one_line(capfd):
    log("one\ntwo\x1b[2J")
    assert capfd.readouterr().err == "one\\ntwo\\x1b[2J\n"
