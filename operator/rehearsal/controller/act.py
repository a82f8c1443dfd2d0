"""Carry out a plan: creates, one status write, deletes, events last. Only a status that changed is written.

Deletes follow the status because it holds what the Jobs consumed: killed in between, the next look deletes them.
"""

import math
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from rehearsal.api.status import RunStatus, State
from rehearsal.cluster.port import AlreadyExists, Cluster, ClusterError
from rehearsal.controller.announce import events
from rehearsal.controller.bounds import bounded
from rehearsal.controller.conditions import stalled
from rehearsal.controller.observe import Run
from rehearsal.controller.plan import Plan
from rehearsal.controller.progress import throttled
from rehearsal.manifests.jobs import LABEL


async def act(cluster: Cluster, run: Run, plan: Plan, now: datetime) -> RunStatus:
    """Make the plan true and return the status that was written. A lost status write (Conflict) is the caller's to retry.

    Nothing is told of a status that was not written, and nothing of a stage is created after an object of it whose name is taken.
    """
    status, blocked = plan.status, set()
    for manifest in plan.create:
        if (stage := _stage(manifest)) in blocked:
            continue
        try:
            await cluster.create(manifest)
        except AlreadyExists:
            if not await _is_ours(cluster, run, manifest):
                status = _taken(run, manifest, status, now)
                blocked.add(stage)
    status = bounded(status)
    changed = status != run.status
    if changed:
        patch = merge_patch(run.stored, wire(status))
        await cluster.patch_status("ReconstructionRun", run.namespace, run.name, patch, run.resource_version)
    for job in plan.delete:
        await cluster.delete("Job", run.namespace, job.name, job.uid)
    told = plan.events if status is plan.status else events(run, status, now)
    for event in told if changed else ():
        with suppress(ClusterError):  # told already, or not to be told: what was done stands
            await cluster.emit(event)
    return status


def wire(status: RunStatus) -> dict[str, Any]:
    """Return the status as it is stored."""
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


def merge_patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON merge patch (RFC 7396) that makes `after` of `before`: what is gone is null."""
    patch: dict[str, Any] = dict.fromkeys(before.keys() - after.keys())
    for key, value in after.items():
        old = before.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            patch[key] = merge_patch(old, value)
        elif value != old:
            patch[key] = value
    return patch


def _stage(manifest: Mapping[str, Any]) -> str:
    return str(manifest["metadata"]["labels"][f"{LABEL}/stage"])


async def _is_ours(cluster: Cluster, run: Run, manifest: Mapping[str, Any]) -> bool:
    """Whether what is there under that name is the run's own, and as good as created. What is gone meanwhile, the next look sees."""
    there = await cluster.get(manifest["kind"], run.namespace, manifest["metadata"]["name"])
    owners = (there or {"metadata": {}})["metadata"].get("ownerReferences") or []
    return there is None or any(owner["uid"] == run.uid for owner in owners)


def _taken(run: Run, manifest: Mapping[str, Any], status: RunStatus, now: datetime) -> RunStatus:
    """Say that somebody else's object has the name: it is neither touched nor adopted."""
    name = _stage(manifest)
    text = f"a {manifest['kind']} {manifest['metadata']['name']} that is not this run's stands in the way of {name}: remove it"
    words = {"state": State.PENDING, "job": None, "message": f"NameTaken: {text}"}
    stages = [stage.model_copy(update=words) if stage.name == name else stage for stage in status.stages]
    told = stalled(status.model_copy(update={"stages": stages}), run, "NameTaken", text, now)
    return throttled(run.status, told, math.inf, now)
