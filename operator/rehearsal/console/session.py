"""One run on this machine: its state folder, its cluster of processes, and the loop until nothing more happens."""

import asyncio
import contextlib
import signal
import tempfile
from collections.abc import AsyncIterator, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from rehearsal.api.messages import Refused
from rehearsal.api.platform import Platform
from rehearsal.api.status import RunStatus
from rehearsal.cluster.local import Capacity, LocalCluster
from rehearsal.console.interruption import Interrupted, Working, at_work, not_kept
from rehearsal.console.live import LiveView
from rehearsal.console.machine import cores, gpus, memory
from rehearsal.controller.act import act
from rehearsal.controller.observe import REQUEST, observe, read_run
from rehearsal.controller.plan import decide
from rehearsal.controller.reconcile import follow
from rehearsal.controller.renewal import renew
from rehearsal.controller.world import inputs_key

TICK = 0.5
T = TypeVar("T")


def now() -> datetime:
    """Return the time, with its zone."""
    return datetime.now(UTC)


def recorded(state: Path, metadata: dict[str, Any]) -> RunStatus | None:
    """Return the status that an earlier command recorded, if there was one."""
    resource = LocalCluster.recorded(state, "ReconstructionRun", metadata["namespace"], metadata["name"])
    return read_run(resource).status if resource else None


def state_folder(manifest: Path, metadata: dict[str, Any]) -> Path:
    """Return where a run's objects and logs are kept: beside its manifest, so that the same command finds them again."""
    return manifest.parent.resolve() / ".rehearsal" / str(metadata["namespace"]) / str(metadata["name"])


async def carry_out(manifest: dict[str, Any], platform: Platform, state: Path, view: LiveView) -> RunStatus | None:
    """Apply the manifest and reconcile until nothing more happens.

    Cancelled, it ends every process, keeps what is done, and raises Interrupted with what is not kept.
    """
    metadata = manifest["metadata"]
    metadata.setdefault("annotations", {})[REQUEST] = now().isoformat()
    working: list[Working] = []
    try:
        async with _cluster(state) as cluster:
            await cluster.apply(manifest)
            await renew(cluster, platform, metadata["namespace"], metadata["name"], now())
            try:
                return await follow(cluster, platform, metadata["namespace"], metadata["name"], now, view.show, TICK)
            except asyncio.CancelledError:
                working = await at_work(cluster, metadata["namespace"])
                raise
    except asyncio.CancelledError:
        raise Interrupted(not_kept(state, working)) from None


async def look_ahead(manifest: dict[str, Any], platform: Platform, state: Path) -> RunStatus:
    """Return the status a run would have after preflight: what is sealed, what would run and why. Starts nothing else."""
    metadata = manifest["metadata"]
    metadata.setdefault("annotations", {})[REQUEST] = now().isoformat()
    before = await _recorded(state, metadata)
    with tempfile.TemporaryDirectory(prefix="rehearsal-plan-") as folder:
        async with _cluster(Path(folder)) as cluster:
            applied = await cluster.apply(manifest)
            if before:
                version = applied["metadata"]["resourceVersion"]
                await cluster.patch_status("ReconstructionRun", metadata["namespace"], metadata["name"], before, version)
            while True:
                seen = await observe(cluster, metadata["namespace"], metadata["name"], now(), TICK)
                if seen is None:
                    raise Refused("the run was deleted while it was planned", "Deleted")
                plan = decide(seen, platform, now())
                if plan.finished or plan.status.inputs_key == inputs_key(seen.run):
                    return plan.status
                if error := (await act(cluster, seen.run, plan, now())).error:
                    raise error
                await asyncio.sleep(TICK)


async def _recorded(state: Path, metadata: dict[str, Any]) -> dict[str, object] | None:
    """The status of an earlier command on the same run, without what only that command's Jobs can tell."""
    status = recorded(state, metadata)
    if status is None:
        return None
    return status.model_copy(update={"inputs_key": "", "folded": []}).model_dump(mode="json", by_alias=True, exclude_none=True)


@contextlib.asynccontextmanager
async def _cluster(state: Path) -> AsyncIterator[LocalCluster]:
    capacity = Capacity(cpu=float(cores()), memory=memory(), devices={"nvidia.com/gpu": gpus()} if gpus() else {})
    async with LocalCluster(state, capacity) as cluster:
        yield cluster


def run_until_done(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run to the end; SIGINT and SIGTERM cancel it, so that every child process is ended first."""

    async def main() -> T:
        task = asyncio.ensure_future(coroutine)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        return await task

    return asyncio.run(main())
