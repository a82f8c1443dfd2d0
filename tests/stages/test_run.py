"""The command itself, on real engines: killed and given again, given twice, edited. The control run is the short way through."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
INPUTS = ROOT / "examples" / "quickstart" / "store" / "inputs"
COMMAND = [str(Path(sys.executable).parent / "rehearsal"), "run", "run.yaml"]

pytestmark = [pytest.mark.engine, pytest.mark.timeout(3600)]

LONGEST = 1800
"""Seconds that a whole run may take on a machine that others share; nothing waits for them to be over."""


@pytest.fixture(scope="module")
def temporary() -> Iterator[Path]:
    """The temporary folder of all that the command starts; engines put sockets there, whose paths must be short."""
    with tempfile.TemporaryDirectory(prefix="run-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        yield Path(folder)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, temporary: Path) -> Path:
    folder = tmp_path_factory.mktemp("run")
    shutil.copytree(INPUTS, folder / "store" / "inputs")
    shutil.copy(ROOT / "examples" / "quickstart" / "platform.yaml", folder)
    text = (ROOT / "examples" / "quickstart" / "no-rehearsal.yaml").read_text()
    (folder / "run.yaml").write_text(text.replace("checkpointMinutes: 1", "checkpointMinutes: 0.05"))
    return folder


def command(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(COMMAND, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finished(folder: Path) -> str:
    process = command(folder)
    said, _ = process.communicate(timeout=LONGEST)
    assert process.returncode == 0, said
    return said


def wait_for(condition: Callable[[], bool], seconds: float = LONGEST) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)


def lives(process: psutil.Process) -> bool:
    """Whether it still does something: who has ended may be left for a while by the process that it fell to."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def descendants(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def sealed(folder: Path) -> dict[str, bytes]:
    """Every seal and every committed shard, by path."""
    root = folder / "store" / "default"
    found = [*root.glob("*/*/manifest.json"), *root.glob("*/*/shards/*/commit.json")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def ran(said: str) -> set[str]:
    """The stages that the closing lines list as run."""
    after = said.partition("What ran, and why:")[2]
    return {line.split()[0] for line in after.splitlines() if line.startswith("  ") and ":" in line.split()[1]}


def test_the_command_is_killed_at_two_moments_and_goes_on_where_it_was(workplace: Path, temporary: Path) -> None:
    for stage in ("mix", "train"):
        process = command(workplace)
        wait_for(lambda stage=stage: any(f"{stage}-" in path.name for path in workplace.glob(".rehearsal/*/*/logs/*")))  # type: ignore[misc]
        children = descendants(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        wait_for(lambda children=children: not any(lives(child) for child in children), 120)  # type: ignore[misc]
        assert left_behind(workplace, temporary) == []
    before = sealed(workplace)
    said = finished(workplace)
    assert {"train", "evaluate-tuned", "report"} <= ran(said)
    assert before.items() <= sealed(workplace).items()


def test_given_again_it_does_nothing_and_says_why_in_seconds(workplace: Path) -> None:
    before, start = sealed(workplace), time.monotonic()
    said = finished(workplace)
    assert time.monotonic() - start < 30
    assert sealed(workplace) == before
    assert ran(said) == set()
    assert "nothing to do" in said


def test_an_edit_of_the_learning_rate_runs_train_evaluate_and_report_only(workplace: Path) -> None:
    manifest = workplace / "run.yaml"
    manifest.write_text(manifest.read_text().replace("learningRate: 1.0e-3", "learningRate: 9.0e-4"))
    before = sealed(workplace)
    finished(workplace)
    new = {path.split("/")[2] for path in sealed(workplace).keys() - before.keys()}
    assert new == {"train", "evaluate", "report"}
    seals = [path for path in sealed(workplace).keys() - before.keys() if path.endswith("manifest.json")]
    assert sum("/evaluate/" in path for path in seals) == 1


def test_nothing_is_left_when_it_ends(workplace: Path, temporary: Path) -> None:
    assert left_behind(workplace, temporary) == []


def left_behind(workplace: Path, temporary: Path) -> list[str]:
    """Processes that name the run's folder, folders of its pods, and their temporary folders."""
    own = os.getpid()
    processes = [" ".join(words) for pid, words in _command_lines() if pid != own and any(str(workplace) in word for word in words)]
    pods = [str(path) for path in workplace.glob(".rehearsal/*/*/pods/*")]
    return [*processes, *pods, *map(str, temporary.glob("rehearsal-*"))]


def _command_lines() -> Iterator[tuple[int, list[str]]]:
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            yield process.pid, process.cmdline()
