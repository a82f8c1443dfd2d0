"""Starts process trees under their supervisor, and kills what a dead supervisor leaves.

A tree ends with its supervisor, with this process (however that ends), or by `stop`. See `supervise` for how. Linux 5.3 or later.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from rehearsal.cluster import supervise

_SUPERVISORS: set[int] = set()
"""Of this whole process: whoever looks for orphans must not take another's supervisor for one."""


class Tree:
    """A command with all its descendants. `ended` gives its exit code (0 to 255) once every one of them is gone."""

    def __init__(self, supervisor: "subprocess.Popen[bytes]") -> None:
        self.pid = supervisor.pid
        self._supervisor = supervisor
        self.ended = asyncio.get_running_loop().create_task(self._end())

    async def stop(self, grace: float) -> int:
        """Send SIGTERM to the command, kill the tree when the grace period (seconds) is over, and return the exit code."""
        with suppress(ProcessLookupError):
            self._supervisor.send_signal(signal.SIGTERM)
        done, _ = await asyncio.wait([self.ended], timeout=grace)
        if not done:
            self._kill()
        return await self.ended

    def _kill(self) -> None:
        assert self._supervisor.stdin is not None  # noqa: S101 - started with a pipe
        with suppress(BrokenPipeError):
            self._supervisor.stdin.write(b"k")

    async def _end(self) -> int:
        code = await self._wait()
        assert self._supervisor.stdin is not None  # noqa: S101
        self._supervisor.stdin.close()
        _SUPERVISORS.discard(self.pid)
        if code >= 0:
            return code
        await _kill_orphans()
        return 128 - code

    async def _wait(self) -> int:
        loop, gone = asyncio.get_running_loop(), asyncio.Event()
        handle = os.pidfd_open(self.pid)
        loop.add_reader(handle, gone.set)
        try:
            await gone.wait()
        finally:
            loop.remove_reader(handle)
            os.close(handle)
        return self._supervisor.wait()


def spawn(command: Sequence[str], environment: Mapping[str, str], folder: Path, log: BinaryIO, temporary: Sequence[Path]) -> Tree:
    """Start a command in a session of its own, with exactly this environment, its output going to the log.

    The temporary folders are removed when this process dies before the tree has ended. Must run inside an event loop.
    """
    supervise.become_subreaper()
    supervisor = subprocess.Popen(
        [sys.executable, "-I", "-S", supervise.__file__, *map(str, temporary), "--", *command],
        env=environment,
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
        bufsize=0,
        start_new_session=True,
    )
    _SUPERVISORS.add(supervisor.pid)
    return Tree(supervisor)


async def settle(task: "asyncio.Task[Any]") -> None:
    """Wait until the task is done, whatever happens to the waiter; a cancellation meanwhile is raised afterwards."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled:
        raise cancelled


async def _kill_orphans() -> None:
    """Kill the trees that were re-parented to this process when their supervisor died.

    They are its children in another session: no process can join a session that existed before it, and supervisors are known.
    """
    me, session = os.getpid(), os.getsid(0)
    while True:
        table = supervise.process_table()
        children = {pid for pid, process in table.items() if process.parent == me and process.session != session}
        orphans = children - _SUPERVISORS
        if not orphans:
            return
        supervise.kill(orphans | supervise.below(orphans, table))
        for pid in orphans:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        await asyncio.sleep(0.005)
