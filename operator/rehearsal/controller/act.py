"""Carry out a plan: the status first, then creates, deletes, the status again where one of them failed, events last.

The status goes first because it holds what was observed, which must not be lost with a create that fails: Jobs and their words are
removed in time. Killed in between, the next look creates what is not there and deletes what still is. A stage whose Job cannot be
created waits with the API server's words; the others go on.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rehearsal.api.status import RunStatus
from rehearsal.cluster.port import AlreadyExists, Cluster, ClusterError, Conflict, NotFound, Unavailable
from rehearsal.controller.announce import events
from rehearsal.controller.jobs import JobView
from rehearsal.controller.observe import Run
from rehearsal.controller.plan import Plan
from rehearsal.controller.record import Record
from rehearsal.controller.why import NameTaken, Why, why_of
from rehearsal.manifests.jobs import LABEL

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Acted:
    """The status that was written last, and the error of the first call that failed after it: the caller's to wait out."""

    status: RunStatus
    error: ClusterError | None = None


@dataclass
class _Failures:
    """What failed on the way: by stage why its Job could not be created, and the first error that a later look may be spared."""

    blocked: dict[str, Why] = field(default_factory=dict)
    error: ClusterError | None = None


async def act(cluster: Cluster, run: Run, plan: Plan, now: datetime) -> Acted:
    """Make the plan true as far as it can be.

    Raises only what the first write raises, a Conflict for example: nothing was done then, and nothing is told.
    """
    record, failures = Record(cluster, run), _Failures()
    await record.write(plan.status)
    try:
        await _create(cluster, run, plan.create, failures)
        await _delete(cluster, run, plan.delete, failures)
        if plan.outcome:
            await record.write(plan.outcome(failures.blocked, failures.error is None))
    except ClusterError as error:  # the server asks to be left alone, or the second write was lost
        return Acted(record.status, error)
    if record.written:
        for event in plan.events if record.status == plan.status else events(run, record.status, now):
            with suppress(ClusterError):  # told already, or not to be told: what was done stands
                await cluster.emit(event)
    return Acted(record.status, failures.error)


async def _create(cluster: Cluster, run: Run, manifests: Iterable[Manifest], failures: _Failures) -> None:
    """Create what is not there. Nothing of a stage is created after an object of it that could not be."""
    missed: set[str] = set()
    for manifest in manifests:
        stage = str(manifest["metadata"]["labels"][f"{LABEL}/stage"])
        if stage in missed:
            continue
        try:
            await _create_one(cluster, run, manifest)
        except NameTaken as error:  # no failure of the API server's: looked at again before long
            failures.blocked[stage] = why_of(error)
            missed.add(stage)
        except ClusterError as error:
            _note(failures, error)
            missed.add(stage)
            if not isinstance(error, Conflict | NotFound):  # those are over when the next look finds what is there now
                failures.blocked[stage] = why_of(error)


async def _create_one(cluster: Cluster, run: Run, manifest: Manifest) -> None:
    """One that is there already and the run's own is as good as created. What is gone meanwhile, the next look sees."""
    kind, name = manifest["kind"], manifest["metadata"]["name"]
    try:
        await cluster.create(manifest)
    except AlreadyExists:
        there = await cluster.get(kind, run.namespace, name)
        owners = (there or {"metadata": {}})["metadata"].get("ownerReferences") or []
        if there and not any(owner["uid"] == run.uid for owner in owners):
            raise NameTaken(f"a {kind} {name} that is not this run's stands in the way: remove it") from None


async def _delete(cluster: Cluster, run: Run, jobs: Iterable[JobView], failures: _Failures) -> None:
    for job in jobs:
        try:
            await cluster.delete("Job", run.namespace, job.name, job.uid)
        except ClusterError as error:
            _note(failures, error)


def _note(failures: _Failures, error: ClusterError) -> None:
    """Keep the first error, or raise it where the server asks to be left alone: no other call is made then."""
    if isinstance(error, Unavailable) and error.retry_after is not None:
        raise error
    failures.error = failures.error or error
