"""A bounded way to run what cannot be bounded otherwise: a child process with limits of memory and time.

The child is a fresh interpreter, so threads and locks of this process do not matter. It lives on between calls, so that
thousands of them are cheap: one costs about 0.1 ms and its JSON. It has no credentials in its environment, and writes no
file once its program is prepared.
Not covered: it is no sandbox against code that runs in it.
"""

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
import weakref
from contextlib import suppress
from types import TracebackType
from typing import Literal

from rehearsal.outside.child import HEADER, OUT_OF_MEMORY, START_SECONDS

MEMORY = 2**30
SECONDS = 20
MAX_ANSWER = 256 * 2**20
PATIENCE, GRACE_SECONDS = 10, 60
"""A call may last so many times its limit of processor time on the clock, and a minute more: a machine may be busy."""
LAST_SECONDS = 5
"""How long a child that has closed its end may take to be gone, so that its exit code can be told."""

Limit = Literal["AS", "DATA"]
"""Of what memory is limited: RLIMIT_AS or RLIMIT_DATA."""

_KEPT = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "PYTHONHOME")
# One thread, one arena: each would ask for address space of its own, which is what is limited.
_SINGLE = {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}


class OutOfBounds(ValueError):
    """A call went over a bound, or took its process down. str() goes on from what was run: `took more than 20 s of …`."""


class Raised(ValueError):
    """A call raised; `kind` is the name of the exception's type. str() is its message, which may quote what was given."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Bounded:
    """Calls of one program in a child process. Safe to share between threads: calls wait for each other.

    `program` is a module with `prepare(setup)`, which returns a function of one argument. What goes in and out is JSON.
    `seconds` are of processor time, a call; `memory` is in bytes: of address
    space, or of data alone (`limit`) for a program whose libraries map far more than they use. After a breach the next call starts a
    new child, which prepares anew.
    """

    def __init__(
        self, program: str, setup: object = None, *, seconds: int = SECONDS, memory: int = MEMORY, limit: Limit = "AS"
    ) -> None:
        self._program, self._setup = program, setup
        self._seconds, self._memory, self._limit = seconds, memory, limit
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None

    def call(self, argument: object) -> object:
        """Return what the program's function answers. Raises Raised where it raises, OutOfBounds where a bound ends it."""
        request = _framed(argument)
        with self._lock:
            if self._child is None:
                self._start()
            return self._exchange(request, self._seconds)

    def close(self) -> None:
        """End the child."""
        with self._lock:
            self._end()

    def __enter__(self) -> "Bounded":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _start(self) -> None:
        command = [sys.executable, "-P", "-B", "-m", "rehearsal.outside.child"]
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        # The child finds modules where this process does; an empty entry would be its working directory.
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        self._child = subprocess.Popen(
            [*command, self._program, str(self._memory), str(self._seconds), self._limit],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment | _SINGLE,
        )
        weakref.finalize(self, _end, self._child)
        try:
            self._exchange(_framed(self._setup), START_SECONDS)
        except Raised:
            self._end()
            raise

    def _exchange(self, request: bytes, seconds: int) -> object:
        child, longest = self._child, GRACE_SECONDS + seconds * PATIENCE
        assert child is not None and child.stdin is not None  # noqa: S101  set by _start
        try:
            child.stdin.write(request)
            child.stdin.flush()
            answer = json.loads(_read_frame(child, time.monotonic() + longest))
        except TimeoutError:
            self._end()
            raise OutOfBounds(f"took more than {longest} s") from None
        except (OSError, EOFError):
            raise OutOfBounds(self._fate(seconds)) from None
        except BaseException:  # as a signal's: the next call would read this one's answer
            self._end()
            raise
        if "raised" in answer:
            raise Raised(*answer["raised"])
        return answer["value"]

    def _fate(self, seconds: int) -> str:
        """Return why the child is gone, and forget it."""
        code = self._end(patience=LAST_SECONDS)
        if code == -signal.SIGXCPU:
            return f"took more than {seconds} s of processor time"
        memory = f"{self._memory // 2**20} MiB of memory"
        if code == OUT_OF_MEMORY:
            return f"needed more than {memory}"
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"ended its process ({how}); it may have needed more than {memory}"

    def _end(self, patience: float = 0) -> int:
        child, self._child = self._child, None
        return _end(child, patience) if child else 0


def _framed(value: object) -> bytes:
    data = json.dumps(value).encode()
    return HEADER.pack(len(data)) + data


def _read_frame(child: subprocess.Popen[bytes], deadline: float) -> bytes:
    """Read one frame of the child's output. Raises TimeoutError at the deadline, EOFError where it ends or has no measure."""
    assert child.stdout is not None  # noqa: S101  a pipe
    number, data, whole = child.stdout.fileno(), bytearray(), HEADER.size
    poll = select.poll()
    poll.register(number, select.POLLIN)
    while len(data) < whole:
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise TimeoutError
        # Nothing comes after the frame: the child waits for the next request.
        if not (piece := os.read(number, 2**20)):
            raise EOFError
        data += piece
        if len(data) >= HEADER.size:
            whole = HEADER.size + HEADER.unpack(data[: HEADER.size])[0]
        if whole > MAX_ANSWER:
            raise EOFError
    return bytes(data[HEADER.size :])


def _end(child: subprocess.Popen[bytes], patience: float = 0) -> int:
    """Return the child's exit code; a child that has not ended by itself within `patience` seconds is killed."""
    try:
        code = child.wait(patience)
    except subprocess.TimeoutExpired:
        child.kill()
        code = child.wait()
    for pipe in (child.stdin, child.stdout):
        with suppress(OSError):  # what was not written is lost with the child
            pipe.close()  # type: ignore[union-attr]
    return code
