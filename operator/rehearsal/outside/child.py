"""The process at the other end of `Bounded`: `python -m rehearsal.outside.child <program> <memory> <seconds> <AS|DATA>`.

Frames of JSON come on standard input and go out on standard output. Whatever a program raises is an answer.
"""

import importlib
import json
import os
import resource
import signal
import struct
import sys
import time
from collections.abc import Callable
from typing import BinaryIO

HEADER = struct.Struct(">Q")
"""The length of the frame that follows."""
OUT_OF_MEMORY = 78
"""The exit code of a child in which Python ran out of memory. Native code that does is ended by a signal."""
START_SECONDS = 120
"""Processor time to import and prepare a program."""
PREPARING_BYTES = 2**16
"""Of a file, while a program is prepared: some libraries try out where they could write. After that none is written."""
MAX_WORDS = 2000


def main() -> None:
    """Prepare the program, then answer one call after the other until standard input ends."""
    program, memory, seconds, limit = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limits = {getattr(resource, f"RLIMIT_{limit}"): memory, resource.RLIMIT_FSIZE: PREPARING_BYTES, resource.RLIMIT_CORE: 0}
    for kind, most in limits.items():
        resource.setrlimit(kind, (most, most))
    run: Callable[[object], object] | None = None
    while (request := _read(requests)) is not None:
        _allow(seconds if run else START_SECONDS)
        try:
            argument = json.loads(request)
            if run is None:
                run = importlib.import_module(program).prepare(argument)
                resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
                answer = _framed({"value": None})
            else:
                answer = _framed({"value": run(argument)})
        except MemoryError:
            os._exit(OUT_OF_MEMORY)
        except BaseException as error:  # noqa: BLE001  panics of native code are no Exception
            answer = _framed({"raised": [type(error).__name__, _words(error)]})
        answers.write(answer)
        answers.flush()


def _read(requests: BinaryIO) -> bytes | None:
    header = requests.read(HEADER.size)
    return requests.read(HEADER.unpack(header)[0]) if len(header) == HEADER.size else None


def _framed(answer: object) -> bytes:
    data = json.dumps(answer).encode()
    return HEADER.pack(len(data)) + data


def _allow(seconds: int) -> None:
    """Let the process have this much processor time from now on; the kernel counts in whole seconds."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = int(time.process_time()) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _words(error: BaseException) -> str:
    try:
        return str(error)[:MAX_WORDS]
    except BaseException:  # noqa: BLE001  an exception of somebody else's, whose __str__ may raise too
        return ""


if __name__ == "__main__":
    main()
