"""Runs one container's command and leaves no process behind: `python -I -S supervise.py FOLDER... -- COMMAND...`.

A program of its own, standard library only. Standard input is the lifeline to whoever started it: a `k` kills the tree; its
end means that the starter is dead, and the folders are removed too. As a child subreaper it stays above every descendant, whatever
session that makes for itself. Not covered: SIGKILL of this very process. The command dies with it (PDEATHSIG) and `process` kills the rest.
"""

import ctypes
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

LIFELINE = 0
KILLED = 128 + signal.SIGKILL
CANNOT_START = 128
"""What a container runtime reports for a command that cannot be executed."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


class Process(NamedTuple):
    """A line of the process table. `start` is in ticks since boot: with the pid it names a process until the next boot."""

    state: str
    parent: int
    session: int
    start: int


def main(arguments: list[str]) -> int:
    """Run the command to its end and return its exit code, 128 + n for a signal."""
    split = arguments.index("--")
    folders, command = arguments[:split], arguments[split + 1 :]
    become_subreaper()
    signals = _signal_pipe()
    code = _watch(_start(command), signals)
    _kill_all_below()
    if _starter_is_dead():
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
    return code


def become_subreaper() -> None:
    """Make this process the new parent of every orphan below it."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def process_table() -> dict[int, Process]:
    """Return every process that can be seen, by pid."""
    pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]  # noqa: PTH208 - quicker to start without pathlib
    return {pid: process for pid in pids if (process := process_of(pid))}


def process_of(pid: int) -> Process | None:
    """Return a process, or None when it is gone and buried."""
    with suppress(OSError), open(f"/proc/{pid}/stat") as file:  # noqa: PTH123 - as above
        fields = file.read().rpartition(")")[2].split()
        return Process(fields[0], int(fields[1]), int(fields[3]), int(fields[19]))
    return None


def below(roots: set[int], table: Mapping[int, Process]) -> set[int]:
    """Return the descendants of the roots, without the roots."""
    found: set[int] = set()
    layer = set(roots)
    while layer:
        layer = {pid for pid, process in table.items() if process.parent in layer} - found - roots
        found |= layer
    return found


def kill(pids: set[int]) -> None:
    """Send SIGKILL to each; one that is gone is fine."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def _signal_pipe() -> int:
    """Turn SIGTERM and SIGCHLD into bytes of a pipe, so that one `select` waits for everything."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    return reader


def _start(command: list[str]) -> int:
    parent = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(KILLED)
        # Python ignores SIGPIPE, and what is ignored stays so across exec.
        for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), LIFELINE)
        os.execvp(command[0], command)  # noqa: S606 - no shell is wanted
    except OSError as error:
        os.write(2, f"exec {command[0]!r}: {error.strerror}\n".encode())
    finally:
        os._exit(CANNOT_START)


def _watch(child: int, signals: int) -> int:
    while True:
        ready, _, _ = select.select([LIFELINE, signals], [], [])
        if LIFELINE in ready:
            return KILLED
        if signal.SIGTERM in os.read(signals, 64):
            os.kill(child, signal.SIGTERM)
        code = _reap(child)
        if code is not None:
            return code


def _reap(child: int) -> int | None:
    """Bury the dead, adopted ones too, and return the child's exit code if it was among them."""
    code = None
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            if pid == child:
                ended = os.waitstatus_to_exitcode(status)
                code = ended if ended >= 0 else 128 - ended
    return code


def _kill_all_below() -> None:
    """Kill until there is no child left: those that fork meanwhile become ours and meet the next round."""
    while True:
        kill(below({os.getpid()}, process_table()))
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.005)


def _starter_is_dead() -> bool:
    ready, _, _ = select.select([LIFELINE], [], [], 0)
    # A `k` that was not read yet comes before the end; one read past it is enough, the starter sends no more than one.
    return bool(ready) and (os.read(LIFELINE, 1) == b"" or _starter_is_dead())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
