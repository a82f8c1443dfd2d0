"""When a command starts on this machine nothing is at work: Jobs of an earlier one that would be ordered otherwise today make room.

They are ordered anew under their fingerprints, with today's values; what they had committed stays. A cluster's Jobs are never at rest
like that, see `stale`.
"""

from datetime import datetime

from rehearsal.api.explain import problems
from rehearsal.api.platform import Platform
from rehearsal.api.run import RunSpec
from rehearsal.cluster.port import Cluster
from rehearsal.controller import ledger
from rehearsal.controller.act import act
from rehearsal.controller.jobs import JobView
from rehearsal.controller.observe import observe
from rehearsal.controller.plan import Plan
from rehearsal.controller.world import PREFLIGHT, live
from rehearsal.manifests.execution import execution_digest, supplies_digest
from rehearsal.pipeline.stages import stages_of


async def renew(cluster: Cluster, platform: Platform, namespace: str, name: str, now: datetime) -> None:
    """Delete the run's unfinished Jobs that were ordered with other values; what they consumed is added to the run's."""
    observation = await observe(cluster, namespace, name, now, platform.progress_seconds)
    spec = problems(observation.run.spec)[0] if observation else None
    if observation is None or spec is None:
        return
    run = observation.run
    jobs = _ordered_otherwise(spec, platform, run.status.rounds, live(observation.jobs))
    stopped = ledger.moment(run.status.progress_at) if run.status.progress_at else now
    await act(cluster, run, Plan(ledger.fold_usage(run.status, jobs, stopped), delete=jobs), now)


def _ordered_otherwise(spec: RunSpec, platform: Platform, rounds: int, jobs: tuple[JobView, ...]) -> tuple[JobView, ...]:
    stages = {stage.name: stage for stage in (PREFLIGHT, *stages_of(spec, rounds))}
    supplies = supplies_digest(platform)
    return tuple(
        job
        for job in jobs
        if (stage := stages.get(job.stage)) and (job.execution, job.supplies) != (execution_digest(spec, stage, platform), supplies)
    )
