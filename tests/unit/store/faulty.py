"""Stores that misbehave on purpose, around a real one: they die, lose answers, or take turns, at a chosen call."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from rehearsal.store.objects import Objects, Stat, StoreError

Result = TypeVar("Result")


class Killed(BaseException):
    """The process is gone: nothing in it may catch this."""


@dataclass
class Observed:
    """Hands every call on through `around`, which a subclass overrides to misbehave."""

    objects: Objects

    def around(self, name: str, call: Callable[[], Result]) -> Result:
        return call()

    def get(self, key: str) -> bytes:
        return self.around("get", lambda: self.objects.get(key))

    def start(self, key: str, size: int) -> bytes:
        return self.around("start", lambda: self.objects.start(key, size))

    def create(self, key: str, data: bytes) -> bool:
        return self.around("create", lambda: self.objects.create(key, data))

    def put(self, key: str, data: bytes) -> None:
        return self.around("put", lambda: self.objects.put(key, data))

    def upload(self, key: str, path: Path) -> str:
        return self.around("upload", lambda: self.objects.upload(key, path))

    def download(self, key: str, path: Path) -> None:
        return self.around("download", lambda: self.objects.download(key, path))

    def stat(self, key: str) -> Stat:
        return self.around("stat", lambda: self.objects.stat(key))

    def list(self, prefix: str) -> Iterator[str]:
        return self.around("list", lambda: iter(list(self.objects.list(prefix))))


@dataclass
class Mortal(Observed):
    """Dies before or after its k-th call (from 0)."""

    k: int
    after: bool
    calls: int = 0

    def around(self, name: str, call: Callable[[], Result]) -> Result:
        fatal, self.calls = self.calls == self.k, self.calls + 1
        if fatal and not self.after:
            raise Killed
        try:
            return call()
        finally:
            if fatal:
                raise Killed


@dataclass
class Unreliable(Observed):
    """Loses calls or answers: `fates` are those of successive creations, and all is well after them."""

    fates: list[str]

    def around(self, name: str, call: Callable[[], Result]) -> Result:
        fate = self.fates.pop(0) if name == "create" and self.fates else "well"
        if fate == "call lost":
            raise StoreError("timed out")
        result = call()
        if fate == "answer lost":
            raise StoreError("timed out")
        return result


@dataclass
class Interrupted(Observed):
    """Runs something else entirely between its k-th call and the one before."""

    k: int
    meanwhile: Callable[[], object]
    calls: int = 0

    def around(self, name: str, call: Callable[[], Result]) -> Result:
        now, self.calls = self.calls == self.k, self.calls + 1
        if now:
            self.meanwhile()
        return call()


@dataclass
class Turns:
    """Lets one of several threads at a time make one store call, in the order of a schedule, then in any order."""

    schedule: Sequence[int]
    _ready: threading.Condition = field(default_factory=threading.Condition)
    _next: int = 0
    _ended: set[int] = field(default_factory=set)

    def wait(self, me: int) -> None:
        with self._ready:
            self._ready.wait_for(lambda: self._turn() in (me, None), timeout=60)

    def done(self) -> None:
        with self._ready:
            self._next += 1
            self._ready.notify_all()

    def end(self, me: int) -> None:
        with self._ready:
            self._ended.add(me)
            self._ready.notify_all()

    def _turn(self) -> int | None:
        while self._next < len(self.schedule) and self.schedule[self._next] in self._ended:
            self._next += 1
        return self.schedule[self._next] if self._next < len(self.schedule) else None


@dataclass
class TakingTurns(Observed):
    """One writer's view of the store under `Turns`."""

    turns: Turns
    me: int

    def around(self, name: str, call: Callable[[], Result]) -> Result:
        self.turns.wait(self.me)
        try:
            return call()
        finally:
            self.turns.done()
