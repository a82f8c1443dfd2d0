"""Servers that outlive the command that starts them. A record of pid and start time says which process is ours, until a reboot."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from rehearsal.cluster.supervise import process_of
from tests.onenode.layout import LOGS, RUN

STOP_SECONDS = 10.0
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Daemon:
    """A server by name: at most one process, in a session of its own, with a log."""

    def __init__(self, name: str) -> None:
        self.name, self.log, self._record = name, LOGS / f"{name}.log", RUN / "processes" / name

    def pid(self) -> int | None:
        """Return its process id, or None when it does not run."""
        with suppress(FileNotFoundError):
            pid, start = map(int, self._record.read_text().split())
            process = process_of(pid)
            if process and process.start == start and process.state != "Z":
                return pid
        return None

    def start(self, command: Sequence[str], variables: Mapping[str, str] | None = None) -> None:
        """Start it unless it runs. It gets these variables and a path, and nothing else of our environment: no proxy, for one."""
        if self.pid():
            return
        for folder in (self.log.parent, self._record.parent):
            folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            pid = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd="/",
                env={"PATH": SYSTEM_PATH, **(variables or {})},
            ).pid
        process = process_of(pid)
        assert process, f"{self.name} is our child, so it is there, dead or alive"
        self._record.write_text(f"{pid} {process.start}")

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Wait until it answers; when it ends before, or does not in time, fail with the end of its log."""
        deadline = time.monotonic() + seconds
        while not ready():
            running = self.pid()
            if not running or time.monotonic() > deadline:
                tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
                raise RuntimeError(
                    f"{self.name} {f'is not ready after {seconds:.0f} s' if running else 'ended'}; {self.log} ends:\n{tail}"
                )
            time.sleep(0.1)

    def stop(self) -> bool:
        """End it, by force when it takes long, and say whether it ran."""
        if not (pid := self.pid()):
            return False
        deadline = time.monotonic() + STOP_SECONDS
        os.kill(pid, signal.SIGTERM)
        while self.pid():
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        self._record.unlink()
        return True
