"""One container: a run of its command at a time, its state as in ContainerStatus, and, of a sidecar, probe and restarts."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from rehearsal.cluster.logs import tail
from rehearsal.cluster.place import Hosted
from rehearsal.cluster.port import Manifest
from rehearsal.cluster.process import Tree, settle
from rehearsal.cluster.stamps import now, stamp

MESSAGE_BYTES = 4096
_FALLBACK_LINES, _FALLBACK_BYTES = 80, 2048
_LONGEST_PAUSE = 60.0

Spawn = Callable[[Hosted, Path], Tree]
"""Starts the command, its output going to that file."""

Probe = Callable[[], Awaitable[bool]]


class Container:
    """A container of a pod. `changed` is called whenever its state did. A run that is cancelled ends the processes first."""

    def __init__(
        self, spec: Manifest, hosted: Hosted, log: Path, *, grace: float, spawn: Spawn, changed: Callable[[], None]
    ) -> None:
        self.spec, self._hosted, self._log, self._grace = spec, hosted, log, grace
        self._spawn, self._changed = spawn, changed
        self._state: Manifest = {"waiting": {"reason": "PodInitializing"}}
        self._last_state: Manifest = {}
        self._restarts = 0
        self._started = False

    @property
    def status(self) -> Manifest:
        """The container's ContainerStatus."""
        return {
            "name": self.spec["name"],
            "image": self.spec.get("image", ""),
            "imageID": "",
            "ready": self._started and "running" in self._state,
            "started": self._started,
            "restartCount": self._restarts,
            "state": self._state,
            "lastState": self._last_state,
        }

    async def run(self) -> int:
        """Run the command once and return its exit code."""
        self._hosted.message.unlink(missing_ok=True)
        tree = self._spawn(self._hosted, self._log)
        started = stamp(now())
        self._started = "startupProbe" not in self.spec
        self._enter({"running": {"startedAt": started}})
        try:
            code = await asyncio.shield(tree.ended)
        except asyncio.CancelledError:
            stopping = asyncio.create_task(tree.stop(self._grace))
            try:
                await settle(stopping)
            finally:
                self._enter(self._terminated(stopping.result(), started))
            raise
        self._enter(self._terminated(code, started))
        return code

    async def keep_running(self, up: asyncio.Event, probe: Probe) -> None:
        """Run the command again and again, as a sidecar: `up` is set at its first start, after its startup probe if it has one."""
        pause = 1.0
        while True:
            run = asyncio.create_task(self.run())
            try:
                if await self._starts(run, probe):
                    up.set()
                    pause = 1.0
                    await asyncio.wait([run])
            finally:
                run.cancel()
                await settle(run)
            if not run.cancelled() and (error := run.exception()):
                raise error
            self._last_state, self._started = self._state, False
            waiting = {"reason": "CrashLoopBackOff", "message": f"back-off {pause:.0f}s restarting failed container"}
            self._enter({"waiting": waiting})
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            self._restarts += 1

    async def _starts(self, run: "asyncio.Task[int]", probe: Probe) -> bool:
        """Wait for the startup probe: False when the command ends before, or the probe has failed too often."""
        settings = self.spec.get("startupProbe")
        if settings is None:
            return True
        await asyncio.wait([run], timeout=settings.get("initialDelaySeconds", 0))
        for _ in range(settings.get("failureThreshold", 3)):
            if run.done():
                return False
            with suppress(TimeoutError):
                async with asyncio.timeout(settings.get("timeoutSeconds", 1)):
                    answered = await probe()
                if answered and not run.done():
                    self._started = True
                    self._changed()
                    return True
            await asyncio.wait([run], timeout=settings.get("periodSeconds", 10))
        return False

    def _enter(self, state: Manifest) -> None:
        self._state = state
        self._changed()

    def _terminated(self, code: int, started: str) -> Manifest:
        state: Manifest = {
            "exitCode": code,
            "reason": "Error" if code else "Completed",
            "startedAt": started,
            "finishedAt": stamp(now()),
        }
        if message := self._message(code):
            state["message"] = message
        return {"terminated": state}

    def _message(self, code: int) -> str:
        with suppress(FileNotFoundError), self._hosted.message.open("rb") as file:
            if message := file.read(MESSAGE_BYTES).decode(errors="replace"):
                return message
        if code and self.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            return tail(self._log, _FALLBACK_LINES).encode()[-_FALLBACK_BYTES:].decode(errors="ignore")
        return ""
