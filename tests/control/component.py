"""A server process of a test: it dies with the test process however that ends, can be made to hang, and keeps a log."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from rehearsal.cluster import supervise


class Ended(RuntimeError):
    """A program ended that was to go on."""


class Component:
    """A program under a supervisor whose lifeline is this process. The supervisor removes the folders when this process dies."""

    def __init__(self, command: Sequence[str], log: Path, folders: Sequence[Path] = ()) -> None:
        self.log = log
        with log.open("ab") as output:
            self._supervisor = subprocess.Popen(
                [sys.executable, "-I", "-S", supervise.__file__, *map(str, folders), "--", *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                bufsize=0,
                start_new_session=True,
            )

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Wait until it answers; when it ends before, or does not in time, fail with the end of its log."""
        deadline = time.monotonic() + seconds
        while not ready():
            if self._supervisor.poll() is not None:
                raise Ended(f"{self.log.stem} ended:\n{self._last_words()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.log.stem} is not ready after {seconds:.0f} s:\n{self._last_words()}")
            time.sleep(0.05)

    def pause(self) -> None:
        """Make the program hang, and return once it does: on a busy machine some of its threads go on for a while after SIGSTOP."""
        self._signal(signal.SIGSTOP)
        self.wait_until(lambda: set(self.threads()) == {"T"}, 60)

    def resume(self) -> None:
        """Let a paused program go on."""
        self._signal(signal.SIGCONT)

    def threads(self) -> list[str]:
        """Return the state of each of the program's threads, as proc(5) abbreviates it: `T` is stopped."""
        states = []
        for task in (task for pid in self._program() for task in Path(f"/proc/{pid}/task").iterdir()):
            with suppress(FileNotFoundError, ProcessLookupError):
                states.append((task / "stat").read_text().rpartition(")")[2].split()[0])
        return states

    def _last_words(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._program():
            os.kill(pid, number)

    def _program(self) -> set[int]:
        return supervise.below({self._supervisor.pid}, supervise.process_table())

    def kill(self) -> None:
        """End it at once, as a crash would. One that has ended is fine."""
        assert self._supervisor.stdin is not None
        with suppress(BrokenPipeError, ValueError):
            self._supervisor.stdin.write(b"k")
        self._supervisor.wait()
        self._supervisor.stdin.close()
