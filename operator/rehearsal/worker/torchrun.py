"""Runs the ranks through torchrun as one process group, listens to them, and turns their end into the stage's.

The ranks die with torchrun and torchrun with this process, however it ends: none is left holding a GPU.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from rehearsal.api.messages import FATAL, CorruptInput, DeviceUnusable, ExitCode, Refused, StageError, TooManyRefused
from rehearsal.worker.training.events import FAILED, Listener

POLL_SECONDS = 0.2
PR_SET_PDEATHSIG = 1
Event = dict[str, object]
ENDINGS: tuple[type[StageError], ...] = (Refused, CorruptInput, TooManyRefused, DeviceUnusable)


def run_ranks(settings: Path, events: Path, ranks: int, heard: Callable[[Event], None]) -> None:
    """Run the ranks to their end, passing on every event but failures; raise the StageError that a failed run stands for."""
    listener = Listener(events)
    failures: list[Event] = []
    with _torchrun(settings, ranks) as process:
        ended = False
        while not ended:
            ended = process.poll() is not None
            for event in listener.news():
                failures.append(event) if event["event"] == FAILED else heard(event)
            if not ended:
                time.sleep(POLL_SECONDS)
    if process.returncode != 0 or failures:
        raise ending(failures, process.returncode)


@contextmanager
def _torchrun(settings: Path, ranks: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    command += ["-m", "rehearsal.worker.training", str(settings)]
    libc = ctypes.CDLL(None)
    # Its output goes to our standard error: standard output holds progress lines only. No thread runs yet that fork could break.
    process = subprocess.Popen(
        command,
        stdout=sys.stderr,
        start_new_session=True,
        preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL),  # noqa: PLW1509
    )

    def terminated(_signal: int, _frame: FrameType | None) -> None:
        _kill(process)
        os._exit(ExitCode.TERMINATED)

    before = signal.signal(signal.SIGTERM, terminated)
    try:
        yield process
    finally:
        _kill(process)
        signal.signal(signal.SIGTERM, before)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End torchrun and the ranks. Nothing they could still do would count: only what is sealed does."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def ending(failures: list[Event], code: int) -> StageError:
    """Return the end of the stage: a rank's own refusal before a bug, a bug before the loss of the others that follows from it."""

    def weight(failure: Event) -> int:
        return 0 if failure["code"] in FATAL else 1 if failure["code"] == ExitCode.BUG else 2

    if failures:
        first = min(failures, key=weight)
        kind = next((kind for kind in ENDINGS if kind.code == first["code"]), StageError)
        return kind(str(first["message"]), str(first["reason"]))
    return DeviceUnusable(
        f"a training rank was killed (torchrun ended with {code}): out of host memory, or its node or device failed", "RankLost"
    )
