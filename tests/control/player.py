"""Plays the pods that a real Job controller makes: scheduler and kubelet by hand, or by a script that every new pod follows.

A pod that is deleted while bound to the player's node ends with 143 and goes, as on a node. Not covered: restarts of containers.
"""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

import aiohttp

from tests.control import pod_status
from tests.control.access import Access, Manifest, Refused
from tests.control.api import STRATEGIC, Api
from tests.control.kubelet import Kubelet
from tests.control.pod_status import Pod

Script = Callable[[Pod], Awaitable[None]]
MAIN = "main"
SIGTERM = 143
RECONNECT_SECONDS = 0.2


class Player:
    """Plays the pods of one namespace (None: of all), inside `async with`. A call on a pod that is gone raises Refused."""

    def __init__(self, access: Access, namespace: str | None) -> None:
        self.api, self.kubelet = Api(access), Kubelet()
        self._path = f"/api/v1/namespaces/{namespace}/pods" if namespace else "/api/v1/pods"
        self._pods: dict[str, Pod] = {}
        self._changed = asyncio.Condition()
        self._arrived: Callable[[Pod], object] = lambda _: None
        self._ending: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.kubelet.__aenter__()
        await self.api.__aenter__()
        self.node = f"player-{self.kubelet.port}"
        await self.api.create("/api/v1/nodes", _node(self.node, self.kubelet.port))
        self._spawn(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        ends = await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(Refused, aiohttp.ClientError):
            await self.api.delete(f"/api/v1/nodes/{self.node}")
        await self.api.__aexit__()
        await self.kubelet.__aexit__()
        for end in ends:
            if isinstance(end, Exception):
                raise end

    def pods(self, stage: str) -> list[Pod]:
        """Return the live pods of a stage as last seen, by index."""
        return sorted((pod for pod in self._pods.values() if pod.stage == stage and pod.is_live), key=lambda pod: pod.index)

    async def pods_of(self, stage: str, count: int = 1, seconds: float = 120) -> list[Pod]:
        """Wait until a stage has so many live pods, and return them by index."""
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(lambda: len(self.pods(stage)) >= count)
        return self.pods(stage)

    async def pod_of(self, stage: str, seconds: float = 120) -> Pod:
        """Wait for a live pod of a stage, and return the one of the lowest index."""
        return (await self.pods_of(stage, seconds=seconds))[0]

    async def gone(self, pod: Pod, seconds: float = 120) -> None:
        """Wait until a pod is no more."""
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(lambda: pod.uid not in self._pods)

    async def bind(self, pod: Pod) -> None:
        """Schedule a pod to the player's node; one that is bound stays so."""
        if self._latest(pod).node:
            return
        target = {"apiVersion": "v1", "kind": "Node", "name": self.node}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod.name, "uid": pod.uid}, "target": target}
        await self.api.create(f"{pod.path}/binding", binding)

    async def run(self, pod: Pod, container: str = MAIN) -> None:
        """Bind a pod, and run it up to this container: earlier init containers are done, sidecars run."""
        await self.bind(pod)
        self.log(pod, "", container)
        await self._write(pod, pod_status.running(self._latest(pod), container, _now()))

    def log(self, pod: Pod, text: str, container: str = MAIN) -> None:
        """Append to a container's log. Only a bound pod's can be read."""
        self.kubelet.write(pod.namespace, pod.name, container, text)

    async def finish(self, pod: Pod, code: int = 0, message: str = "", container: str = MAIN) -> None:
        """End a pod with this container's exit code and termination message."""
        await self._write(pod, pod_status.ended(self._latest(pod), container, code, message, _now()))

    async def unschedulable(self, pod: Pod, message: str) -> None:
        """Say of an unbound pod what a scheduler says when no node will do."""
        await self._write(pod, pod_status.unschedulable(message, _now()))

    async def wait_on(self, pod: Pod, reason: str, message: str, container: str = MAIN) -> None:
        """Bind a pod whose container cannot start, as with ErrImagePull."""
        await self.bind(pod)
        await self._write(pod, pod_status.waiting(self._latest(pod), container, reason, message, _now()))

    async def disrupt(self, pod: Pod, reason: str = "PreemptionByScheduler", message: str = "preempted") -> None:
        """End a pod by a disruption, which no retry is spent on, and remove it."""
        await self.announce_disruption(pod, reason, message)
        await self.finish(pod, SIGTERM)
        await self.remove(pod)

    async def announce_disruption(self, pod: Pod, reason: str = "EvictionByEvictionAPI", message: str = "drained") -> None:
        """Say of a pod that works that it is about to be drained or preempted."""
        await self._write(pod, pod_status.disrupted(reason, message, _now()))

    async def remove(self, pod: Pod) -> None:
        """Delete a pod at once, as when its node is lost."""
        await self.api.delete(pod.path, gracePeriodSeconds=0, preconditions={"uid": pod.uid})

    async def succeed(self, pod: Pod) -> None:
        """The script of a pod that runs and ends well, without a word."""
        await self.run(pod)
        await self.finish(pod)

    @asynccontextmanager
    async def playing(self, script: Script | None = None) -> AsyncIterator[None]:
        """Let every pod follow the script (without one: succeed), those that wait already too, until the block ends.

        A pod that goes meanwhile ends its script; any other error of a script ends the block with it.
        """

        async def play(pod: Pod) -> None:
            try:
                await (script or self.succeed)(pod)
            except Refused as refusal:
                if refusal.code not in (404, 409):
                    raise

        async with asyncio.TaskGroup() as group:
            scripts: set[asyncio.Task[None]] = set()

            def begin(pod: Pod) -> None:
                task = group.create_task(play(pod))
                scripts.add(task)
                task.add_done_callback(scripts.discard)

            for pod in list(self._pods.values()):
                if pod.is_live and pod.phase == "Pending":
                    begin(pod)
            self._arrived = begin
            try:
                yield
            finally:
                self._arrived = lambda _: None
                for task in scripts:
                    task.cancel()

    def _latest(self, pod: Pod) -> Pod:
        return self._pods.get(pod.uid, pod)

    async def _write(self, pod: Pod, patch: Manifest) -> None:
        written = Pod(await self.api.patch(f"{pod.path}/status", {"metadata": {"uid": pod.uid}} | patch, STRATEGIC))
        if pod.uid in self._pods:
            self._see(written)

    async def _watch(self) -> None:
        """Follow the pods. A watch that ends begins anew from a list."""
        while True:
            with suppress(aiohttp.ClientError, Refused):
                async for change, found in self.api.watch(self._path):
                    if change == "ERROR":
                        break
                    if change == "LIST":
                        uids = {item["metadata"]["uid"] for item in found["items"]}
                        self._pods = {uid: pod for uid, pod in self._pods.items() if uid in uids}
                    elif change == "DELETED":
                        self._pods.pop(found["metadata"]["uid"], None)
                    else:
                        self._see(Pod(found))
                    async with self._changed:
                        self._changed.notify_all()
            await asyncio.sleep(RECONNECT_SECONDS)

    def _see(self, pod: Pod) -> None:
        known = self._pods.get(pod.uid)
        if known and known.version >= pod.version:
            return
        self._pods[pod.uid] = pod
        if not known and pod.is_live:
            self._arrived(pod)
        if pod.is_deleted and pod.node == self.node and pod.uid not in self._ending:
            self._ending.add(pod.uid)
            self._spawn(self._end(pod))

    async def _end(self, pod: Pod) -> None:
        """End a deleted pod as its node would."""
        with suppress(Refused):
            if pod.phase in ("Pending", "Running"):
                await self.finish(pod, SIGTERM)
            await self.remove(pod)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)


def _node(name: str, port: int) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "status": {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
        },
    }


def _now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
