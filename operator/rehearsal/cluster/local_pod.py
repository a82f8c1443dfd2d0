"""Runs one pod: init containers one after another, sidecars beside them, then the main container, with whose end the pod ends."""

import asyncio
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rehearsal.cluster.capacity import is_sidecar
from rehearsal.cluster.container import Container
from rehearsal.cluster.place import Hosted, Place
from rehearsal.cluster.port import Manifest
from rehearsal.cluster.probe import answers
from rehearsal.cluster.process import Tree, settle, spawn
from rehearsal.cluster.stamps import now, stamp
from rehearsal.cluster.takeover import Record


class LocalPod:
    """A pod that was admitted. `changed` is called whenever its status did. A run that is cancelled ends all processes first."""

    def __init__(self, pod: Manifest, place: Place, record: Record, logs: Path, changed: Callable[[], None]) -> None:
        self._place, self._record, self._logs, self._changed = place, record, logs, changed
        self._grace = pod["spec"].get("terminationGracePeriodSeconds", 30)
        self._started_at = stamp(now())
        self._init = [self._container(spec) for spec in pod["spec"].get("initContainers", ())]
        (self._main,) = [self._container(spec) for spec in pod["spec"]["containers"]]
        self._phase = "Pending"

    @property
    def status(self) -> Manifest:
        """The pod's PodStatus."""
        main = self._main.status
        containers = {"containerStatuses": [main]}
        if self._init:
            containers["initContainerStatuses"] = [container.status for container in self._init]
        return {
            "phase": self._phase,
            "startTime": self._started_at,
            "podIP": "127.0.0.1",
            "conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": str(main["ready"])}],
            **containers,
        }

    async def run(self) -> None:
        """Carry the pod out; its status then tells how it ended."""
        self._record.write([self._place.folder, self._place.temporary], self._logs)
        self._place.prepare()
        sidecars: list[asyncio.Task[None]] = []
        try:
            code = await self._initialise(sidecars)
            if not code:
                self._phase = "Running"
                code = await self._main.run()
        finally:
            await settle(asyncio.create_task(_end(sidecars)))
        self._phase = "Failed" if code else "Succeeded"

    async def _initialise(self, sidecars: "list[asyncio.Task[None]]") -> int:
        """Run the init containers in order and return the exit code of the one that failed, or 0. Sidecars that run are added."""
        for container in self._init:
            if is_sidecar(container.spec):
                up = asyncio.Event()
                sidecar = asyncio.create_task(container.keep_running(up, partial(self._probe, container.spec)))
                sidecars.append(sidecar)
                await _first(up, sidecar)
            elif code := await container.run():
                return code
        return 0

    def _container(self, spec: Manifest) -> Container:
        log = self._logs / f"{spec['name']}.log"
        return Container(spec, self._place.host(spec), log, grace=self._grace, spawn=self._spawn, changed=self._changed)

    def _spawn(self, hosted: Hosted, log: Path) -> Tree:
        with log.open("ab") as file:
            folders = (self._place.folder, self._place.temporary)
            tree = spawn(hosted.command, hosted.environment, self._place.home, file, folders)
        self._record.add(tree.pid)
        return tree

    async def _probe(self, container: Manifest) -> bool:
        settings = container["startupProbe"]
        if get := settings.get("httpGet"):
            return await answers(self._place.port(container, get["port"]), get.get("path", "/"))
        probing = {**container, "command": settings["exec"]["command"], "args": []}
        tree = self._spawn(self._place.host(probing), Path(os.devnull))
        try:
            return await asyncio.shield(tree.ended) == 0
        finally:
            await tree.stop(0)


async def _end(sidecars: "list[asyncio.Task[None]]") -> None:
    """End the sidecars, the last one first."""
    for sidecar in reversed(sidecars):
        sidecar.cancel()
        await asyncio.gather(sidecar, return_exceptions=True)


async def _first(up: asyncio.Event, sidecar: "asyncio.Task[None]") -> None:
    """Wait until the sidecar is up, or raise what ended it."""
    waiting = asyncio.create_task(up.wait())
    try:
        await asyncio.wait([waiting, sidecar], return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
    if sidecar.done():
        sidecar.result()
