"""What should happen to a run, given one look at it: a pure, total function that reads as the story of a run.

No clock, no randomness, no await.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from rehearsal.api.explain import problems
from rehearsal.api.platform import Platform
from rehearsal.api.run import RunSpec
from rehearsal.api.status import RunStatus, StageStatus, State
from rehearsal.controller import conditions, ledger, share
from rehearsal.controller.announce import events
from rehearsal.controller.jobs import JobState, JobView
from rehearsal.controller.observe import Observation, Run
from rehearsal.controller.progress import throttled
from rehearsal.manifests.jobs import Order, build_job, execution_digest, job_name
from rehearsal.pipeline.fingerprint import changed, digest, fingerprints, output_path, parts
from rehearsal.pipeline.sources import external_inputs
from rehearsal.pipeline.stage import Kind, Stage
from rehearsal.pipeline.stages import stages_of

PREFLIGHT = Stage(name="preflight", kind=Kind.PREFLIGHT)


WAITING_SECONDS = 30.0
"""How soon to ask again why a Job gets no pod: the answer is in the status within a minute."""
SHARING_SECONDS = 15.0
"""How soon to look again whether another run's Job has ended."""


@dataclass(frozen=True)
class Plan:
    """What to do: Jobs to delete by UID, Jobs to create, the status to record afterwards, and the events to tell last.

    `look_again`: seconds after which to look even if nothing happens; None where only a change can make a difference.
    """

    status: RunStatus
    create: tuple[dict[str, object], ...] = ()
    delete: tuple[JobView, ...] = ()
    events: tuple[dict[str, object], ...] = ()
    look_again: float | None = None

    @property
    def finished(self) -> bool:
        """Nothing more happens until the run is changed."""
        return any(c.type in ("Complete", "Failed", "Suspended") and c.status == "True" for c in self.status.conditions)


@dataclass(frozen=True)
class World:
    """What every step of a decision looks at."""

    run: Run
    spec: RunSpec
    platform: Platform
    jobs: tuple[JobView, ...]
    rivals: tuple[JobView, ...]
    now: datetime
    stages: tuple[Stage, ...] = ()
    known: Mapping[str, str] = field(default_factory=dict)

    def job(self, stage: str, fingerprint: str, attempt: int) -> JobView | None:
        """The Job of that identity, if it is there."""
        name = job_name(self.run.name, self.run.uid, stage, fingerprint, attempt)
        return next((job for job in self.jobs if job.name == name), None)


def decide(observation: Observation, platform: Platform, now: datetime) -> Plan:
    """Return what should happen. Every call on the same observation gives the same plan."""
    run, jobs = observation.run, observation.jobs
    status = ledger.fold_usage(_forget_gone(run.status, jobs), [job for job in jobs if not job.state.live], now)
    if run.deleting:
        return Plan(status)
    spec, refused = problems(run.spec)
    if spec is None or (refused := list(_unknown_names(spec, platform))):
        words = "; ".join(f"{path}: {text}" for path, text in refused)
        return _told(run, Plan(conditions.refused(status, run, words, now), delete=_live(jobs)), now)
    if spec.suspend:
        live = _live(jobs)
        status = conditions.suspended(ledger.fold_usage(status, live, now), run, now)
        return _told(run, Plan(status, delete=live), now)
    world = World(run, spec, platform, jobs, observation.rivals, now)
    status, order, outdated = _preflight(world, status)
    if status.inputs_key != inputs_key(run):
        looked = status.stage(PREFLIGHT.name)
        hopeless = looked is not None and looked.state is State.FAILED
        return _plan(world, conditions.idle(status) if hopeless else status, order, _live(jobs) if hopeless else outdated)
    world, status = _advance(world, status)
    if any(stage.state is State.FAILED for stage in status.stages):
        return _plan(world, status, (), _stale(world))
    status, orders, yielded = _due(world, status)
    return _plan(world, status, orders, (*_stale(world), *yielded))


def inputs_key(run: Run) -> str:
    """Identify the question preflight answers: this generation of the spec, and this request to look again."""
    return digest([run.generation, run.request])[:16]


def _unknown_names(spec: RunSpec, platform: Platform) -> Iterator[tuple[str, str]]:
    """What the spec names and the platform does not have."""
    if spec.store not in platform.stores:
        yield "spec.store", f"the platform has no store {spec.store!r}; it has {', '.join(sorted(platform.stores))}"
    for i, member in enumerate(spec.reconstructed.committee.members if spec.reconstructed else ()):
        if member.endpoint and member.endpoint.name not in platform.endpoints:
            has = ", ".join(sorted(platform.endpoints)) or "none"
            path = f"spec.rehearsal.reconstructed.committee.members[{i}].endpoint.name"
            yield path, f"the platform has no endpoint {member.endpoint.name!r}; it has {has}"


def _plan(world: World, status: RunStatus, orders: tuple[Order, ...], delete: tuple[JobView, ...] = ()) -> Plan:
    """Write down what is ordered, what is deleted and how the run stands."""
    for order in orders:
        name = job_name(order.run, order.uid, order.stage.name, order.fingerprint, order.attempt)
        entry = status.stage(order.stage.name) or StageStatus(name=order.stage.name)
        status = _put(status, entry.model_copy(update={"state": State.WAITING, "job": name, "message": ""}))
    status = ledger.fold_usage(status, delete, world.now)
    pinned = status.inputs_key == inputs_key(world.run)
    status = conditions.of_run(status, world.run, world.jobs, world.platform.deadline_seconds, world.now, pinned)
    status = throttled(world.run.status, status, world.platform.progress_seconds, world.now)
    plan = Plan(status, tuple(build_job(order, world.platform) for order in orders), delete)
    return _told(world.run, replace(plan, look_again=_look_again(world, plan)), world.now)


def _told(run: Run, plan: Plan, now: datetime) -> Plan:
    return replace(plan, events=events(run, plan.status, now))


def _look_again(world: World, plan: Plan) -> float | None:
    if plan.finished:
        return None
    if any(_unrecorded(world, stage) for stage in world.stages):
        return 0.0
    waiting = [stage for stage in plan.status.stages if stage.state is State.WAITING]
    if any(stage.job is None for stage in waiting):
        return SHARING_SECONDS
    return WAITING_SECONDS if waiting else world.platform.progress_seconds


def _preflight(world: World, status: RunStatus) -> tuple[RunStatus, tuple[Order, ...], tuple[JobView, ...]]:
    """See that inputs are pinned for this generation; until preflight has answered, its Job is all there is to start.

    Also returned: Jobs that ask the question of an earlier generation.
    """
    key = inputs_key(world.run)
    outdated = tuple(job for job in _live(world.jobs) if job.stage == PREFLIGHT.name and job.fingerprint != key)
    if status.inputs_key == key:
        return status, (), outdated
    before = status.stage(PREFLIGHT.name)
    why = "the spec is new or changed, or a new look was asked for" if before else "first look at the spec"
    entry = ledger.stage_of(before, PREFLIGHT.name, key, {}, why)
    job = world.job(PREFLIGHT.name, key, entry.attempt)
    entry = ledger.seen(entry, job)
    status = _put(status, entry)
    if entry.state is State.SUCCEEDED and job and job.termination:
        return ledger.pin(status, key, job.termination, external_inputs(world.spec)), (), outdated
    if entry.state is State.FAILED or (job and job.attempt == entry.attempt):
        return status, (), outdated
    order = Order(world.run.namespace, world.run.name, world.run.uid, world.spec, PREFLIGHT, key, entry.attempt)
    return status, (order,), outdated


def _advance(world: World, status: RunStatus) -> tuple[World, RunStatus]:
    """Bring every stage's entry up to what was observed; where filter asked for another round of elicitation, add it."""
    stages = stages_of(world.spec, status.rounds)
    world = replace(world, stages=stages, known=fingerprints(stages, status.inputs))
    entries, rounds = [], status.rounds
    for stage in stages:
        entry = _entry(world, status, stage)
        job = world.job(stage.name, world.known[stage.name], entry.attempt)
        entry = ledger.seen(entry, job)
        asked = job.termination.another_round if job and job.state is JobState.COMPLETE and job.termination else None
        if asked and entry.sealed is None:
            rounds, entry = max(rounds, asked), ledger.again(entry)
        entries.append(entry)
    preflight = [stage for stage in status.stages if stage.name == PREFLIGHT.name]
    more = rounds > status.rounds
    status = status.model_copy(update={"stages": preflight + entries, "rounds": rounds})
    if more:
        return _advance(world, status)
    return world, ledger.void(status, world.jobs)


def _entry(world: World, status: RunStatus, stage: Stage) -> StageStatus:
    """The stage's entry under its present fingerprint, with the reason it is what it is."""
    fingerprint, made_of = world.known[stage.name], parts(stage, status.inputs, world.known)
    before = status.stage(stage.name)
    why = changed(before.parts, made_of) if before and before.parts else "not done before"
    entry = ledger.stage_of(before, stage.name, fingerprint, made_of, why)
    if entry is not before:
        attempts = [job.attempt + 1 for job in world.jobs if job.fingerprint == fingerprint and job.state is JobState.FAILED]
        output = output_path(world.run.namespace, stage, world.known)
        entry = entry.model_copy(update={"attempt": max(attempts, default=0), "output": output})
    if other := share.result(fingerprint, world.rivals):
        digest_ = other.termination.manifest_digest if other.termination else None
        return ledger.reused(entry, digest_, f"run {other.run} has just computed it")
    return ledger.reused(entry, status.found.get(stage.name))


def _due(world: World, status: RunStatus) -> tuple[RunStatus, tuple[Order, ...], tuple[JobView, ...]]:
    """The stages whose inputs are sealed, which are not, and which have no Job; and Jobs of ours that another run's make idle.

    A stage is ordered only once its fingerprint was recorded: from then on other runs' Jobs of it are looked for.
    """
    orders, yielded = [], []
    for stage in world.stages:
        entry = status.stage(stage.name)
        if entry is None or entry.sealed or not all((read := status.stage(name)) and read.sealed for name in _reads(world, stage)):
            continue
        job = world.job(stage.name, world.known[stage.name], entry.attempt)
        if other := share.owner(world.known[stage.name], job, world.rivals, world.now):
            words = {"state": State.WAITING, "job": None, "message": f"waits for run {other.run}, which computes this stage"}
            status = _put(status, entry.model_copy(update=words))
            yielded += [job] if job else []
        elif job is None and not _unrecorded(world, stage):
            orders.append(_order(world, status, stage, entry.attempt))
    return status, tuple(orders), tuple(yielded)


def _unrecorded(world: World, stage: Stage) -> bool:
    """Whether the status as it was read does not know the stage under its present fingerprint."""
    recorded = world.run.status.stage(stage.name)
    return recorded is None or recorded.fingerprint != world.known[stage.name]


def _order(world: World, status: RunStatus, stage: Stage, attempt: int) -> Order:
    run, fingerprint = world.run, world.known[stage.name]
    return Order(
        run.namespace, run.name, run.uid, world.spec, stage, fingerprint, attempt, status.rounds, status.inputs, world.known
    )


def _reads(world: World, stage: Stage) -> tuple[str, ...]:
    """The stages that must be sealed first: what is read, and for filter every round of elicitation so far."""
    rounds = tuple(other.name for other in world.stages if other.kind is Kind.ELICIT) if stage.kind is Kind.FILTER else ()
    return (*stage.inputs.values(), *rounds)


def _stale(world: World) -> tuple[JobView, ...]:
    """Jobs that are no longer wanted, that wait for a pod under knobs that were corrected since, or that would try for ever."""
    wanted = {(stage.name, world.known[stage.name]): stage for stage in world.stages}
    stale = [job for job in world.jobs if job.hopeless and not job.deleting]
    for job in _live(world.jobs):
        stage = wanted.get((job.stage, job.fingerprint))
        if (stage is None and job.stage != PREFLIGHT.name) or (
            stage and job.state is JobState.WAITING and job.execution != execution_digest(world.spec, stage)
        ):
            stale.append(job)
    return tuple(stale)


def _live(jobs: tuple[JobView, ...]) -> tuple[JobView, ...]:
    return tuple(job for job in jobs if job.state.live and not job.deleting)


def _put(status: RunStatus, entry: StageStatus) -> RunStatus:
    """The status with one stage's entry replaced, or put first."""
    if status.stage(entry.name) is None:
        return status.model_copy(update={"stages": [entry, *status.stages]})
    stages = [entry if stage.name == entry.name else stage for stage in status.stages]
    return status.model_copy(update={"stages": stages})


def _forget_gone(status: RunStatus, jobs: tuple[JobView, ...]) -> RunStatus:
    """Keep the list of folded Jobs as short as the list of Jobs."""
    there = {job.uid for job in jobs}
    return status.model_copy(update={"folded": [uid for uid in status.folded if uid in there]})
