"""What the command says where there is nothing that it can act on."""

import sys
from pathlib import Path

import pytest

from tests.onenode import daemons, machine
from tests.onenode.__main__ import main

COMMANDS = pytest.mark.parametrize(
    "command", ["apiserver start", "apiserver stop", "kubelet start", "kubelet stop", "load rehearsal/operator:0.1.0"]
)


@pytest.fixture(autouse=True)
def no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has no cluster, whatever this one has; we are root on it."""
    for module in (daemons, machine):
        monkeypatch.setattr(module, "RUN", tmp_path)
    monkeypatch.setattr("os.geteuid", lambda: 0)


@COMMANDS
def test_without_a_cluster_it_says_so(command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    assert run(command, monkeypatch) == 1
    assert capsys.readouterr().err == "there is no cluster: 'make cluster' starts it\n"


@COMMANDS
def test_who_is_not_root_is_told(command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert run(command, monkeypatch) == 1
    assert capsys.readouterr().err.startswith("a node needs root")


def run(command: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["onenode", *command.split()])
    return main()
