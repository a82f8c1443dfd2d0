"""Logs for machines: one JSON object a line, whatever is in the message."""

import json
import logging
from collections.abc import Iterator

import pytest

from rehearsal.controller.journal import configure

log = logging.getLogger("rehearsal.x")


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_record_with_a_traceback_is_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json")
    try:
        {}["a\nb"]
    except KeyError:
        log.exception('two\nlines and "quotes"')
    (line,) = capsys.readouterr().err.splitlines()
    told = json.loads(line)
    assert (told["level"], told["logger"], told["message"]) == ("error", "rehearsal.x", 'two\nlines and "quotes"')
    assert "KeyError" in told["error"]


@pytest.mark.parametrize("shape", ["json", "text"])
def test_what_a_message_quotes_is_printable(shape: str, capfd: pytest.CaptureFixture[str]) -> None:
    configure(shape)
    log.warning("%s", "\x1b[2J\u202e \ud83d")
    (line,) = capfd.readouterr().err.splitlines()
    assert line.isprintable()
    assert "x1b[2J" in line
    assert "ud83d" in line


def test_kopf_speaks_only_when_something_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    configure("text")
    logging.getLogger("kopf.objects").info("chatter")
    logging.getLogger("kopf.objects").warning("trouble")
    assert "chatter" not in (text := capsys.readouterr().err)
    assert "trouble" in text
