"""The loop around observe, plan and act, called by the operator and by `rehearsal run` alike."""

import asyncio
from collections.abc import Callable
from datetime import datetime

from rehearsal.api.platform import Platform
from rehearsal.api.status import RunStatus
from rehearsal.cluster.port import Cluster, Conflict
from rehearsal.controller.act import act
from rehearsal.controller.observe import observe
from rehearsal.controller.plan import Plan, decide

Clock = Callable[[], datetime]


async def reconcile(cluster: Cluster, platform: Platform, namespace: str, name: str, clock: Clock) -> Plan | None:
    """Look once, decide, act. Returns the plan that was carried out, or None when the run is gone."""
    observation = await observe(cluster, namespace, name)
    if observation is None:
        return None
    plan = decide(observation, platform, clock())
    await act(cluster, observation.run, plan)
    return plan


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
            plan = await reconcile(cluster, platform, namespace, name, clock)
        except Conflict:
            continue
        if plan is None:
            return None
        seen(plan.status)
        if plan.finished:
            return plan.status
        await asyncio.sleep(every)
