"""The operator's process: watches, sweep, visits and probe beside each other. If one of them ends, the process ends."""

import asyncio
import logging
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from rehearsal.api.messages import ExitCode
from rehearsal.api.platform import Platform
from rehearsal.cluster.kubernetes import KubernetesCluster
from rehearsal.cluster.mirror import Mirror
from rehearsal.cluster.port import ClusterError, Forbidden, Manifest
from rehearsal.controller.app import watch
from rehearsal.controller.metrics import Metrics
from rehearsal.controller.probe import serving
from rehearsal.controller.queue import Key, Queue
from rehearsal.controller.reconcile import Reconciled, reconcile
from rehearsal.controller.sweep import Sweep
from rehearsal.controller.trouble import tell_forbidden
from rehearsal.controller.visits import Visits

WORKERS = 8
"""Runs looked at side by side: a visit mostly waits for the API server."""
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
    stop, metrics, queue = asyncio.Event(), Metrics(), Queue()
    async with KubernetesCluster(on_call=metrics.api_call) as cluster:
        mirror = Mirror(cluster)

        async def look(key: Key) -> Reconciled | None:
            return await reconcile(mirror, options.platform, *key, _now)

        async def refresh() -> set[Key]:
            changed = [await mirror.refresh(namespace) for namespace in options.namespaces or (None,)]
            return set().union(*changed)

        async def forbidden(key: Key, error: Forbidden) -> None:
            with suppress(ClusterError):
                await tell_forbidden(mirror, *key, error, _now())

        def seen(type_: str | None, item: Manifest) -> None:
            if key := mirror.note(type_, item):
                queue.wake(key)

        visits = Visits(look, forbidden, queue, metrics)
        sweep = Sweep(refresh, visits.undated, queue.wake, options.sweep_seconds, metrics)
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
