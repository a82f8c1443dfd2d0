"""What reaches a terminal can be printed as it stands, whoever wrote it."""

import io
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from rehearsal import cli
from rehearsal.api.status import RunStatus, StageStatus, State
from rehearsal.console.live import LiveView
from rehearsal.console.outcome import plan_table, summary

HOSTILE = "\x1b[2J\x1b]0;pwned\x07 \u202e [bold]"
PRINTED = "\\x1b[2J\\x1b]0;pwned\\x07 \\u202e [bold]"


def status_of(state: State) -> RunStatus:
    stage = StageStatus(
        name="report", state=state, message=HOSTILE, reason=HOSTILE, unit=HOSTILE[:4], total=2, done=1, per_second=1.0
    )
    return RunStatus(stages=[stage.model_copy(update={"facts": {HOSTILE: HOSTILE}})])


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("state", [State.RUNNING, State.FAILED, State.WAITING])
def test_a_workers_words_cannot_steer_the_terminal(terminal: bool, state: State) -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=300, color_system=None)
    with LiveView(console, "medical", lambda: datetime.now(UTC)) as view:
        view.show(status_of(state))
    printed = file.getvalue()
    assert PRINTED in printed
    assert "pwned\x07" not in printed
    assert "\x1b[2J" not in printed
    printed.encode()


def test_facts_and_reasons_are_printed_as_they_stand(tmp_path: Path) -> None:
    said = summary("medical", None, status_of(State.SUCCEEDED), tmp_path)
    assert PRINTED in said
    assert said.replace("\n", "").isprintable()
    file = io.StringIO()
    Console(file=file, width=300).print(plan_table(status_of(State.PENDING)))
    assert PRINTED in file.getvalue()


def test_a_refusal_that_quotes_the_manifest_is_printed_as_it_stands(tmp_path: Path, monkeypatch, capsys) -> None:
    path = tmp_path / "run.yaml"
    path.write_text('apiVersion: rehearsal.dev/v1alpha1\n"\\e[2J": 1\n"\\u202e\\n": 2\n')
    monkeypatch.setattr(sys, "argv", ["rehearsal", "plan", str(path)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    told = capsys.readouterr().err
    assert ended.value.code == 64
    assert "\\x1b[2J: there is no such field" in told
    assert "\x1b" not in told
    assert "\u202e" not in told


def test_whatever_the_command_raises_it_ends_in_words(tmp_path: Path, monkeypatch, capsys) -> None:
    class PanicError(BaseException):
        pass

    def panic(*_: object) -> None:
        raise PanicError("\ud83d")

    monkeypatch.setattr(cli, "read_for_one_machine", panic)
    monkeypatch.setattr(cli.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["rehearsal", "plan", "run.yaml"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 70
    assert "A bug of ours" in capsys.readouterr().err
