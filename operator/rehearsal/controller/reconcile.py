"""The loop around observe, plan and act, called by the operator and by `rehearsal run` alike."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from rehearsal.api.platform import Platform
from rehearsal.api.status import RunStatus
from rehearsal.cluster.port import Cluster, ClusterError, Conflict
from rehearsal.controller.act import act
from rehearsal.controller.observe import observe
from rehearsal.controller.plan import Plan, decide

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class Reconciled:
    """What one turn did: the status it found, the plan it carried out, the status it left, and why not all of it could be done."""

    before: RunStatus
    plan: Plan
    status: RunStatus
    error: ClusterError | None = None


async def reconcile(cluster: Cluster, platform: Platform, namespace: str, name: str, clock: Clock) -> Reconciled | None:
    """Look once, decide, act; None when the run is gone. Errors of the cluster, raised or returned, are the caller's to wait out."""
    now = clock()
    observation = await observe(cluster, namespace, name, now, platform.progress_seconds)
    if observation is None:
        return None
    plan = decide(observation, platform, now)
    acted = await act(cluster, observation.run, plan, now)
    return Reconciled(observation.run.status, plan, acted.status, acted.error)


async def follow(
    cluster: Cluster,
    platform: Platform,
    namespace: str,
    name: str,
    clock: Clock,
    seen: Callable[[RunStatus], None],
    every: float = 0.5,
) -> RunStatus | None:
    """Reconcile one run again and again until nothing more happens; `seen` is shown every status."""
    while True:
        try:
            turn = await reconcile(cluster, platform, namespace, name, clock)
        except Conflict:
            continue
        if turn is None:
            return None
        seen(turn.status)
        if isinstance(turn.error, Conflict):
            continue
        if turn.error:
            raise turn.error
        if turn.plan.finished:
            return turn.status
        await asyncio.sleep(every)
