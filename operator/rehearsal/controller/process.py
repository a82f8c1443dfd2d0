"""The operator's process: watches, sweep, visits and probe beside each other. If one of them ends, the process ends."""

import asyncio
import logging
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rehearsal.api.messages import ExitCode
from rehearsal.api.platform import Platform
from rehearsal.cluster.kubernetes import KubernetesCluster
from rehearsal.cluster.mirror import Mirror
from rehearsal.cluster.port import Manifest
from rehearsal.controller.app import watch
from rehearsal.controller.metrics import Metrics
from rehearsal.controller.probe import serving
from rehearsal.controller.queue import Key, Queue
from rehearsal.controller.reconcile import Reconciled, reconcile
from rehearsal.controller.scope import Scope
from rehearsal.controller.sweep import Sweep
from rehearsal.controller.trouble import tell
from rehearsal.controller.visits import Visits
from rehearsal.controller.waiters import Waiters

WORKERS = 8
"""Runs looked at side by side: a visit mostly waits for the API server."""
OWNER_FIRST_SECONDS = 1.0
"""How much later than its own run those look that wait for a Job: its pod's word has come, and the next Job is the owner's."""
GRACE_SECONDS = 10.0
"""Time to finish the visits that go on when the process is told to end."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    platform: Platform
    namespaces: Sequence[str] = ()
    port: int = 8080
    sweep_seconds: float = 60.0


async def operate(options: Options) -> int:
    """Operate until a signal says to end; returns the exit code."""
    stop, metrics, queue, waiters = asyncio.Event(), Metrics(), Queue(), Waiters()
    async with KubernetesCluster(on_call=metrics.api_call) as cluster:
        mirror = Mirror(cluster)

        async def look(key: Key) -> Reconciled | None:
            found = await reconcile(mirror, options.platform, *key, _now)
            waiters.record(key, found.status if found else None)
            return found

        async def told(key: Key, error: Exception) -> None:
            if status := await tell(mirror, *key, error, _now()):
                metrics.recorded(key, status, status)

        def seen(type_: str | None, item: Manifest) -> None:
            if key := mirror.note(type_, item):
                queue.wake(key)
            for waiter in waiters.of(item):
                queue.wake(waiter, OWNER_FIRST_SECONDS)

        scope = Scope(options.namespaces, mirror.refresh, metrics)
        visits = Visits(look, told, queue, metrics)
        sweep = Sweep(scope.refresh, visits.undated, queue.wake, options.sweep_seconds, metrics)
        metrics.queue_depth(queue.depth)

        async def watch_once_swept() -> None:
            await sweep.swept.wait()
            await watch(seen, options.namespaces, started=lambda: _on_signals(stop))

        _on_signals(stop)
        async with serving(options.port, lambda: sweep.alive, sweep.age, metrics.page):
            log.info("operating in %s; probes on port %d", ", ".join(options.namespaces) or "all namespaces", options.port)
            workers = [asyncio.create_task(visits.work(), name="visits") for _ in range(WORKERS)]
            others = [
                asyncio.create_task(sweep.run(), name="sweep"),
                asyncio.create_task(watch_once_swept(), name="watch"),
            ]
            return await run_until(stop, queue, workers, others)


async def run_until(
    stop: asyncio.Event, queue: Queue, workers: Sequence[asyncio.Task[None]], others: Sequence[asyncio.Task[None]]
) -> int:
    """Wait for the end: an orderly one when `stop` is set, an error when any task ends. What is at work may finish."""
    told = asyncio.create_task(stop.wait(), name="signal")
    done, _ = await asyncio.wait([told, *workers, *others], return_when=asyncio.FIRST_COMPLETED)
    for task in done - {told}:
        log.critical("%s ended, and so does the process", task.get_name(), exc_info=None if task.cancelled() else task.exception())
    queue.close()
    _, late = await asyncio.wait(workers, timeout=GRACE_SECONDS)
    log.info("ending%s", f"; {len(late)} visits are cut short" if late else "")
    for task in (told, *late, *others):
        task.cancel()
    await asyncio.wait([told, *workers, *others], timeout=GRACE_SECONDS / 2)
    return ExitCode.DONE if done == {told} else ExitCode.BUG


def _on_signals(stop: asyncio.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


def _now() -> datetime:
    return datetime.now(UTC)
