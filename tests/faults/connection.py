"""One operator's way to the cluster, and what can go wrong on it: a kill, an answer that never comes, an old answer, a refusal."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from rehearsal.cluster.port import Cluster, ClusterError, Forbidden, Manifest, Manifests
from tests.faults.memory import MemoryCluster
from tests.faults.objects import View

Verb = str
T = TypeVar("T")


class Crash(BaseException):
    """The operator's process is gone. Nothing in it may catch this."""


class Connection(Cluster):
    """Calls in the order they were made are `calls`; what goes wrong is set before or between them.

    `crash_after`: the number of the write that takes effect and is the operator's last (0: the first write does not happen).
    `fail`: the number of a call that fails, with what, and whether the cluster carries it out all the same.
    `admits`: what the API server answers to a create that it does not take. `forbidden`: verbs and kinds that the operator has no
    right to. `past`: answers reads of these kinds as of then.
    `gate`: awaited before each observation and each write but of events, which come last and change nothing.
    """

    def __init__(self, cluster: MemoryCluster) -> None:
        self.cluster = cluster
        self.calls: list[tuple[Verb, str]] = []
        self.writes = 0
        self.crash_after: int | None = None
        self.fail: tuple[int, ClusterError, bool] | None = None
        self.admits: Callable[[Manifest], ClusterError | None] = lambda _: None
        self.forbidden: set[tuple[Verb, str]] = set()
        self.past: View | None = None
        self.past_kinds: frozenset[str] = frozenset()
        self.gate: Callable[[Verb], Awaitable[None]] | None = None

    async def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        if self.gate and kind == "ReconstructionRun":
            await self.gate("get")
        self._before("get", kind)
        return self._view(kind).get(kind, namespace, name)

    async def list(self, kind: str, namespace: str | None, labels: Mapping[str, str]) -> Manifests:
        self._before("list", kind)
        return self._view(kind).list(kind, namespace, labels)

    async def pods(self, namespace: str, job_uid: str) -> Manifests:
        self._before("pods", "Pod")
        return self._view("Pod").owned("Pod", namespace, job_uid)

    async def events(self, namespace: str, uid: str) -> Manifests:
        self._before("events", "Event")
        return self._view("Event").about(namespace, uid)

    async def log_tail(self, namespace: str, pod: str, container: str, lines: int) -> str:
        self._before("log_tail", "Pod")
        return await self.cluster.log_tail(namespace, pod, container, lines)

    async def create(self, manifest: Manifest) -> Manifest:
        async def carry_out() -> Manifest:
            if refusal := self.admits(manifest):
                raise refusal
            return await self.cluster.create(manifest)

        return await self._write("create", manifest["kind"], carry_out)

    async def delete(self, kind: str, namespace: str, name: str, uid: str) -> None:
        await self._write("delete", kind, lambda: self.cluster.delete(kind, namespace, name, uid))

    async def patch_status(self, kind: str, namespace: str, name: str, status: Manifest, resource_version: str) -> Manifest:
        patch = self.cluster.patch_status
        return await self._write("patch_status", kind, lambda: patch(kind, namespace, name, status, resource_version))

    async def emit(self, event: Manifest) -> None:
        await self._write("emit", "Event", lambda: self.cluster.emit(event))

    async def _write(self, verb: Verb, kind: str, carry_out: Callable[[], Awaitable[T]]) -> T:
        if self.gate and verb != "emit":
            await self.gate(verb)
        self._crash()
        lost = self._before(verb, kind, writing=True)
        done = await carry_out()
        self.writes += 1
        self._crash()
        if lost:
            raise lost
        return done

    def _crash(self) -> None:
        if self.crash_after is not None and self.writes >= self.crash_after:
            raise Crash

    def _before(self, verb: Verb, kind: str, *, writing: bool = False) -> ClusterError | None:
        """Count the call, and fail it where it is to fail; a write whose answer alone is lost returns what to raise after it."""
        number = len(self.calls)
        self.calls.append((verb, kind))
        if (verb, kind) in self.forbidden:
            raise Forbidden(f"{verb} {kind}: the operator may not")
        if self.fail and self.fail[0] == number:
            _, error, carried_out = self.fail
            if not (writing and carried_out):
                raise error
            return error
        return None

    def _view(self, kind: str) -> View:
        return self.past if self.past is not None and kind in self.past_kinds else self.cluster.objects
