"""The loop around observe, plan and act, called by the operator and by `rehearsal run` alike."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from rehearsal.api.platform import Platform
from rehearsal.api.status import RunStatus
from rehearsal.cluster.port import Cluster, Conflict
from rehearsal.controller.act import act
from rehearsal.controller.observe import observe
from rehearsal.controller.plan import Plan, decide

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class Reconciled:
    """What one turn did: the status it found, the plan it carried out, the status it left."""

    before: RunStatus
    plan: Plan
    status: RunStatus


async def reconcile(cluster: Cluster, platform: Platform, namespace: str, name: str, clock: Clock) -> Reconciled | None:
    """Look once, decide, act; None when the run is gone. Errors of the cluster are the caller's to wait out."""
    now = clock()
    observation = await observe(cluster, namespace, name, now, platform.progress_seconds)
    if observation is None:
        return None
    plan = decide(observation, platform, now)
    status = await act(cluster, observation.run, plan, now)
    return Reconciled(observation.run.status, plan, status)


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
        seen(turn.plan.status)
        if turn.plan.finished:
            return turn.plan.status
        await asyncio.sleep(every)
