"""Bring a run's stages up to what was observed, and say which are due and which Jobs are given up for another run's. Pure."""

from dataclasses import replace

from rehearsal.api.status import RunStatus, StageStatus, State
from rehearsal.controller import attempts, hold, ledger, share
from rehearsal.controller.funnel import funnel
from rehearsal.controller.jobs import JobState, JobView
from rehearsal.controller.stale import old_values
from rehearsal.controller.world import PREFLIGHT, World, inputs_key
from rehearsal.manifests.execution import execution_digest
from rehearsal.manifests.jobs import Order, job_name
from rehearsal.pipeline.fingerprint import changed, fingerprints, output_path, parts
from rehearsal.pipeline.sources import external_inputs
from rehearsal.pipeline.stage import Kind, Stage
from rehearsal.pipeline.stages import stages_of


def preflight(world: World, status: RunStatus) -> tuple[RunStatus, tuple[Order, ...]]:
    """See that inputs are pinned for this generation; until preflight has answered, its Job is all there is to start."""
    key = inputs_key(world.run)
    if status.inputs_key == key:
        return status, ()
    before = status.stage(PREFLIGHT.name)
    why = "the spec is new or changed, or a new look was asked for" if before else "first look at the spec"
    new = StageStatus(name=PREFLIGHT.name, kind=PREFLIGHT.kind, fingerprint=key, reason=why)
    entry = before if before and before.fingerprint == key else new
    job = world.job(PREFLIGHT.name, key, entry.attempt)
    entry = ledger.seen(entry, job)
    status = put(status, entry)
    if entry.state is State.SUCCEEDED and job and job.termination:
        if unnamed := external_inputs(world.spec).keys() - job.termination.inputs.keys():
            words = f"ReleaseMismatch: preflight did not name {', '.join(sorted(unnamed))}: use images of the same release"
            return put(status, entry.model_copy(update={"state": State.FAILED, "message": words})), ()
        return ledger.pin(status, key, job.termination, external_inputs(world.spec)), ()
    if entry.state is State.FAILED or (job and job.attempt == entry.attempt):
        return status, ()
    if lost := hold.held(world.lost, (PREFLIGHT,)):
        return put(status, _waits(entry, lost)), ()
    order = Order(world.run.namespace, world.run.name, world.run.uid, world.spec, PREFLIGHT, key, entry.attempt)
    return status, (order,)


def advance(world: World, status: RunStatus) -> tuple[World, RunStatus]:
    """Bring every stage's entry up to what was observed; where select asked for another round, add its stages."""
    stages = stages_of(world.spec, status.rounds)
    world = replace(world, stages=stages, known=fingerprints(stages, status.inputs))
    entries, rounds = [], status.rounds
    for stage in stages:
        entry = _entry(world, status, stage)
        job = world.job(stage.name, world.known[stage.name], entry.attempt)
        entry = attempts.followed(entry, ledger.seen(entry, job), job, world.platform.backoff_limit)
        if job and not job.stuck and entry.state is State.RUNNING and (words := old_values(world, job, stage)):
            entry = entry.model_copy(update={"message": words})
        if entry.sealed is None:
            rounds = max(rounds, _asked(world, stage))
            entry = _for_another_round(entry, job) if job and _another_round(job) else entry
        entries.append(entry)
    looked = [stage for stage in status.stages if stage.name == PREFLIGHT.name]
    more = rounds > status.rounds
    status = status.model_copy(update={"stages": looked + entries, "rounds": rounds})
    if more:
        return advance(world, status)
    status = ledger.void(status, world.jobs)
    return world, status.model_copy(update={"funnel": funnel(status)})


def _asked(world: World, stage: Stage) -> int:
    """Return the most rounds that a Job of this stage asked for, an earlier generation's Job too."""
    return max((_another_round(job) for job in world.jobs if job.fingerprint == world.known[stage.name]), default=0)


def _for_another_round(entry: StageStatus, job: JobView) -> StageStatus:
    """Return the entry of a stage that runs again once another round is sealed; its reason is why that round is needed."""
    words = job.termination.message if job.termination else None
    return ledger.again(entry).model_copy(update={"reason": words[:512]} if words else {})


def _another_round(job: JobView) -> int:
    return (job.termination.another_round or 0) if job.state is JobState.COMPLETE and job.termination else 0


def _entry(world: World, status: RunStatus, stage: Stage) -> StageStatus:
    """The stage's entry under its present fingerprint, with the reason it is what it is."""
    fingerprint, before = world.known[stage.name], status.stage(stage.name)
    entry = before if before and before.fingerprint == fingerprint else _new_entry(world, status, stage, before)
    # Told once: a seal that a reader found missing is not believed again on the word of the Job that made it.
    if (entry.retries or not entry.attempt) and (other := share.result(fingerprint, world.rivals)):
        return ledger.reused(entry, other.seal, f"run {other.run} has just computed it")
    return ledger.reused(entry, status.found.get(stage.name))


def _new_entry(world: World, status: RunStatus, stage: Stage, before: StageStatus | None) -> StageStatus:
    """An entry under another fingerprint than before, and what made it another."""
    fingerprint, made_of = world.known[stage.name], parts(stage, status.inputs, world.known)
    attempts = [job.attempt + 1 for job in world.jobs if job.fingerprint == fingerprint and job.state is JobState.FAILED]
    return StageStatus(
        name=stage.name,
        kind=stage.kind,
        fingerprint=fingerprint,
        parts=made_of,
        reason=changed(before.parts, made_of) if before and before.parts else "not done before",
        output=output_path(world.run.namespace, stage, world.known),
        attempt=max(attempts, default=0),
    )


def due(world: World, status: RunStatus) -> tuple[RunStatus, tuple[Order, ...], tuple[JobView, ...]]:
    """Return what to start: stages whose inputs are sealed and which have neither seal nor Job; and Jobs to give up for another run's.

    A stage is ordered only once its fingerprint was recorded: from then on other runs' Jobs of it are looked for.
    """
    orders, yielded = [], []
    for stage in world.stages:
        entry = status.stage(stage.name)
        if entry is None or entry.sealed or not all((read := status.stage(name)) and read.sealed for name in _reads(world, stage)):
            continue
        job = world.job(stage.name, world.known[stage.name], entry.attempt)
        if lost := hold.held(world.lost, (stage,)):
            status = status if job else put(status, _waits(entry, lost))
            continue
        execution = execution_digest(world.spec, stage, world.platform)
        if other := share.owner(world.known[stage.name], execution, job, entry.done, world.rivals, world.now):
            words = {"state": State.WAITING, "job": None, "message": f"waits for run {other.run}, which computes this stage"}
            status = put(status, entry.model_copy(update=words))
            yielded += [job] if job else []
        elif job is None and (why := _held(world, stage, entry)):
            status = put(status, entry.model_copy(update={"state": State.WAITING, "job": None, "message": why}))
        elif job is None and not unrecorded(world, stage):
            orders.append(_order(world, status, stage, entry.attempt))
    return status, tuple(orders), tuple(yielded)


def _waits(entry: StageStatus, lost: hold.Missing) -> StageStatus:
    """The entry of a stage that is not started, for what the platform has no more."""
    return entry.model_copy(update={"state": State.PENDING, "job": None, "message": f"{lost.reason}: {lost.loss}"})


def pauses(world: World, status: RunStatus) -> list[float]:
    """Return the seconds until attempts may begin that wait for nothing else."""
    entries = [(stage, status.stage(stage.name)) for stage in world.stages if stage.nodes > 1]
    return [attempts.pause(entry, _last(world, stage, entry), world.now) for stage, entry in entries if entry]


def _held(world: World, stage: Stage, entry: StageStatus) -> str:
    """What the next Job of a stage waits for, whose pods work together: the end of all pods of before, and a pause."""
    if stage.nodes == 1:
        return ""
    run, fingerprint = world.run, world.known[stage.name]
    names = {job_name(run.name, run.uid, stage.name, fingerprint, entry.attempt - before) for before in (0, 1)}
    last, words = _last(world, stage, entry), attempts.words(entry, world.platform.backoff_limit)
    if names & world.lingering.keys() or (last and last.state.live):
        return "; ".join(filter(None, (words, "waits until all pods of before are gone")))
    return words if attempts.pause(entry, last, world.now) else ""


def _last(world: World, stage: Stage, entry: StageStatus) -> JobView | None:
    """The Job of the attempt before."""
    return world.job(stage.name, world.known[stage.name], entry.attempt - 1)


def unrecorded(world: World, stage: Stage) -> bool:
    """Whether the status as it was read does not know the stage under its present fingerprint."""
    recorded = world.run.status.stage(stage.name)
    return recorded is None or recorded.fingerprint != world.known[stage.name]


def _order(world: World, status: RunStatus, stage: Stage, attempt: int) -> Order:
    run, fingerprint = world.run, world.known[stage.name]
    sealed = {entry.name: entry.sealed for entry in status.stages if entry.sealed}
    seals = {name: seal.manifest_digest for name, seal in sealed.items() if world.known.get(name) == seal.fingerprint}
    return Order(
        run.namespace, run.name, run.uid, world.spec, stage, fingerprint, attempt, status.rounds, status.inputs, world.known, seals
    )


def _reads(world: World, stage: Stage) -> tuple[str, ...]:
    """The stages that must be sealed first: what is read, and for select every round so far."""
    later = tuple(other.name for other in world.stages if other.round > 1) if stage.kind is Kind.SELECT else ()
    return (*stage.inputs.values(), *later)


def put(status: RunStatus, entry: StageStatus) -> RunStatus:
    """Return the status with one stage's entry replaced, or put first."""
    if status.stage(entry.name) is None:
        return status.model_copy(update={"stages": [entry, *status.stages]})
    stages = [entry if stage.name == entry.name else stage for stage in status.stages]
    return status.model_copy(update={"stages": stages})
