"""Jobs that are not needed as they are: of an earlier spec, of a stage that is reused, or ordered with old values. Pure."""

from rehearsal.api.status import RunStatus, State
from rehearsal.controller import hold
from rehearsal.controller.jobs import JobState, JobView
from rehearsal.controller.world import PREFLIGHT, World, inputs_key, live
from rehearsal.manifests.execution import execution_digest, others, supplies_digest
from rehearsal.pipeline.stage import Stage


def outdated(world: World) -> tuple[JobView, ...]:
    """Return the live Jobs that ask preflight's question of an earlier generation, or would ask it under old knobs."""
    key = inputs_key(world.run)
    asking = [job for job in live(world.jobs) if job.stage == PREFLIGHT.name]
    return tuple(job for job in asking if job.fingerprint != key or _bent(world, job, PREFLIGHT))


def stale(world: World, status: RunStatus) -> tuple[JobView, ...]:
    """Return Jobs that nobody needs: of another fingerprint, of a stage that is reused meanwhile, waiting under old knobs, hopeless."""
    wanted = {(stage.name, world.known[stage.name]): stage for stage in world.stages}
    found = [job for job in world.jobs if job.hopeless and not job.deleting]
    for job in live(world.jobs):
        if job.stage == PREFLIGHT.name:
            continue
        stage, entry = wanted.get((job.stage, job.fingerprint)), status.stage(job.stage)
        reused = entry is not None and entry.state is State.REUSED
        if stage is None or reused or _bent(world, job, stage):
            found.append(job)
    return (*found, *outdated(world))


def _bent(world: World, job: JobView, stage: Stage) -> bool:
    """Whether no pod of a Job is at work, and its next one would start with values, the run's or the platform's, that are others by now.

    A Job that waits for its first pod keeps its place in the queue for all the platform's supplies, unless it lacks one.
    """
    if job.state is not JobState.WAITING and not job.between:
        return False
    resupplied = (job.lacks or job.between) and job.supplies != supplies_digest(world.platform)
    return resupplied or job.execution != execution_digest(world.spec, stage, world.platform)


def old_values(world: World, job: JobView, stage: Stage) -> str:
    """What a Job at work was ordered with that is set otherwise by now. It goes on; while its stage is held it would not be made again."""
    if hold.held(world.lost, (stage,)):
        return ""
    fields = (
        *others(job.execution, execution_digest(world.spec, stage, world.platform)),
        *others(job.supplies, supplies_digest(world.platform)),
    )
    if job.between or not fields:
        return ""
    named = ", ".join(fields[:4]) + (f" and {len(fields) - 4} more" if len(fields) > 4 else "")
    return f"goes on with older values of {named}; to have the new ones now, delete the Job {job.name}: what is committed stays"
