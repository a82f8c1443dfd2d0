"""One look at a run: its resource, its Jobs, what their pods say, and other runs' Jobs of the same stages, frozen.

Log tails and events are read only for Jobs that need them, so that a look stays a handful of calls.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from rehearsal.api.status import RunStatus, StageStatus, State
from rehearsal.cluster.port import Cluster
from rehearsal.controller.ends import at_work
from rehearsal.controller.jobs import JobState, JobView, is_ours, view
from rehearsal.controller.life import stuck
from rehearsal.controller.motion import motionless
from rehearsal.controller.why import Why
from rehearsal.manifests.jobs import LABEL, fingerprint_label
from rehearsal.pipeline.fingerprint import READ
from rehearsal.pipeline.stage import Kind

REQUEST = f"{LABEL}/requestedAt"
"""Annotation: a new value asks to look again: inputs are resolved anew and failed stages tried again."""


@dataclass(frozen=True)
class Run:
    """The resource as read. `stored` is its status to the letter, which a release may fail to read."""

    namespace: str
    name: str
    uid: str
    generation: int
    resource_version: str
    deleting: bool
    spec: object
    request: str
    status: RunStatus
    stored: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Observation:
    """Everything that a decision is made from. `rivals` are other runs' Jobs of stages that this run has not sealed.

    `lingering`: names of Jobs, there or not, of nodes that train together, of which some pod has not ended yet, and why if it will not.
    """

    run: Run
    jobs: tuple[JobView, ...]
    rivals: tuple[JobView, ...] = ()
    lingering: Mapping[str, Why | None] = field(default_factory=dict)


async def observe(cluster: Cluster, namespace: str, name: str, now: datetime, figures_every: float) -> Observation | None:
    """Read a run and its Jobs; None when the run is gone. Progress is read when the last was written that long ago."""
    resource = await cluster.get("ReconstructionRun", namespace, name)
    if resource is None:
        return None
    run = read_run(resource)
    figures = _figures_due(run.status, now, figures_every)
    jobs = await cluster.list("Job", namespace, {f"{LABEL}/run-uid": run.uid})
    views = [_judged(await view(cluster, job, now, figures), run, now) for job in jobs if is_ours(job)]
    stuck_stages = frozenset(job.stage for job in views if job.stuck)
    rivals = await _rivals(cluster, run, stuck_stages, now)
    return Observation(run, tuple(views), rivals, await _lingering(cluster, run, now))


def read_run(resource: Mapping[str, Any]) -> Run:
    """Return the run that a resource describes. A status this release cannot read counts as none."""
    metadata = resource["metadata"]
    try:
        status = RunStatus.model_validate(resource.get("status") or {})
    except ValidationError:
        status = RunStatus()
    return Run(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata.get("generation", 1),
        resource_version=metadata["resourceVersion"],
        deleting="deletionTimestamp" in metadata,
        spec=resource.get("spec"),
        request=(metadata.get("annotations") or {}).get(REQUEST, ""),
        status=status,
        stored=resource.get("status") or {},
    )


async def _rivals(cluster: Cluster, run: Run, stuck_stages: frozenset[str], now: datetime) -> tuple[JobView, ...]:
    """Jobs of other runs in this namespace that compute a stage which this run waits for, is about to start, or is stuck in."""
    if run.deleting or not isinstance(run.spec, Mapping) or run.spec.get("suspend"):
        return ()
    store = str(run.spec.get("store", "default"))
    found: list[JobView] = []
    for stage in run.status.stages:
        if not _may_be_anothers(stage, run.status, stuck=stage.name in stuck_stages):
            continue
        labels = {f"{LABEL}/fingerprint": fingerprint_label(str(stage.fingerprint)), f"{LABEL}/store": store}
        same = await cluster.list("Job", run.namespace, labels)
        others = [job for job in same if is_ours(job) and job["metadata"]["labels"][f"{LABEL}/run-uid"] != run.uid]
        found += [await _rival(cluster, job, run.namespace, now) for job in others]
    return tuple(found)


async def _rival(cluster: Cluster, job: Mapping[str, Any], namespace: str, now: datetime) -> JobView:
    """Another run's Job, judged by what that run has recorded of it."""
    found = await view(cluster, job, now, figures=False, words=False)
    if found.state is not JobState.RUNNING or found.stuck:
        return found
    its_run = await cluster.get("ReconstructionRun", namespace, found.run)
    return _judged(found, read_run(its_run), now) if its_run else found


def _judged(job: JobView, run: Run, now: datetime) -> JobView:
    """A Job whose pods get nothing done is stuck too; that is told by what was recorded earlier."""
    return job if job.stuck else replace(job, stuck=motionless(run.status.stage(job.stage), job, now))


async def _lingering(cluster: Cluster, run: Run, now: datetime) -> Mapping[str, Why | None]:
    """Asked only where nodes train together: the pods of a Job that was deleted work on for a while, under the names of the next."""
    training = run.spec.get("training") if isinstance(run.spec, Mapping) else None
    if not isinstance(training, Mapping) or training.get("nodes", 1) == 1:
        return {}
    labels = {f"{LABEL}/run-uid": run.uid, f"{LABEL}/stage": str(Kind.TRAIN)}
    pods = await cluster.list("Pod", run.namespace, labels)
    jobs: dict[str, list[Mapping[str, Any]]] = {}
    for pod in filter(at_work, pods):
        jobs.setdefault(pod["metadata"]["labels"].get("batch.kubernetes.io/job-name", ""), []).append(pod)
    return {name: stuck(its_pods, now) for name, its_pods in jobs.items()}


def _may_be_anothers(stage: StageStatus, status: RunStatus, *, stuck: bool) -> bool:
    """Whether a stage has no seal and no Job that goes on with what it has committed, and all it reads is sealed, or may be by now."""
    if stage.name == Kind.PREFLIGHT:  # asked by each run for itself, and labelled alike in all of them
        return False
    if stage.sealed or stage.fingerprint is None or not (stage.state is State.PENDING or stage.moving):
        return False
    if stage.done and not stuck:
        return False
    reads = [part.removeprefix(READ) for part in stage.parts if part.startswith(READ)]
    return all((read := status.stage(name)) and (read.sealed or read.moving) for name in reads)


def _figures_due(status: RunStatus, now: datetime, every: float) -> bool:
    """Whether the last progress was written long enough ago; a clock that leapt backwards counts as long."""
    if status.progress_at is None:
        return True
    return not 0 <= (now - datetime.fromisoformat(status.progress_at)).total_seconds() < every
