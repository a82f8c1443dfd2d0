"""A program for `Bounded` that does what hostile text makes libraries do."""

import os
import re
import resource
import signal
import time
from collections.abc import Callable


class PanicError(BaseException):
    """As pyo3's PanicException: no Exception."""


def prepare(setup: object) -> Callable[[object], object]:
    if setup == "broken":
        raise ValueError("nothing to prepare from")
    deeds: dict[str, Callable[[object], object]] = {
        "echo": lambda value: value,
        "spin": lambda _: re.search("(a+)+$", "a" * 64 + "b"),
        "grow": lambda size: len("a" * int(str(size))),
        "recurse": _recurse,
        "panic": _panic,
        "abort": lambda _: os.abort(),
        "kill": lambda _: os.kill(os.getpid(), signal.SIGKILL),
        "wait": lambda seconds: time.sleep(float(str(seconds))),
        "print": lambda text: print(text, flush=True),
        "environment": lambda _: dict(os.environ),
        "process": lambda _: os.getpid(),
        "limits": lambda _: resource.getrlimit(resource.RLIMIT_AS)[0],
        "write": _write,
        "setup": lambda _: setup,
        "set": lambda _: {1},
    }

    def run(argument: object) -> object:
        assert isinstance(argument, list)
        return deeds[argument[0]](argument[1])

    return run


def _recurse(value: object) -> object:
    return _recurse(value)


def _write(path: object) -> None:
    with open(str(path), "w") as file:  # noqa: PTH123
        file.write("a")


def _panic(_: object) -> object:
    raise PanicError("called `Result::unwrap()` on an `Err` value")
