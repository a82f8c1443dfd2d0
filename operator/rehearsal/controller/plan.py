"""What should happen to a run, given one look at it: a pure, total function that reads as the story of a run.

No clock, no randomness, no await.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from rehearsal.api.explain import problems
from rehearsal.api.platform import Platform
from rehearsal.api.run import RunSpec
from rehearsal.api.status import RunStatus, StageStatus, State
from rehearsal.controller import attempts, conditions, hold, ledger
from rehearsal.controller.advance import advance, due, pauses, preflight, put, unrecorded
from rehearsal.controller.announce import events
from rehearsal.controller.jobs import JobState, JobView
from rehearsal.controller.observe import Observation, Run
from rehearsal.controller.progress import throttled
from rehearsal.controller.stale import outdated, stale
from rehearsal.controller.waiting import SETTLES_SECONDS
from rehearsal.controller.why import Why
from rehearsal.controller.world import PREFLIGHT, World, inputs_key, live
from rehearsal.manifests.jobs import Order, build_job
from rehearsal.manifests.rendezvous import build_service
from rehearsal.pipeline.external import foreign

MOST_GONE = 100
"""Jobs that are gone whose UIDs are kept: seen again in an old answer, they are not counted twice."""
WAITING_SECONDS = 30.0
"""How soon to ask again why a Job gets no pod: the answer is in the status within a minute."""
SHARING_SECONDS = 15.0
"""How soon to look again whether another run's Job has ended."""


Outcome = Callable[[Mapping[str, Why], bool], RunStatus]
"""The status to record in the end: by stage why its Job could not be created, and whether every call went well."""


@dataclass(frozen=True)
class Plan:
    """What to do: the status to record first, objects to create in this order, Jobs to delete by UID, and the events to tell last.

    `status` holds what was observed, with what failed at earlier looks and is tried again now; `outcome` is None where nothing can
    fail. `look_again`: seconds after which to look even if nothing happens; None where only a change can make a difference.
    """

    status: RunStatus
    create: tuple[dict[str, object], ...] = ()
    delete: tuple[JobView, ...] = ()
    events: tuple[dict[str, object], ...] = ()
    look_again: float | None = None
    outcome: Outcome | None = field(default=None, compare=False)

    @property
    def finished(self) -> bool:
        """Nothing more happens until the run is changed."""
        return conditions.over(self.status)


def decide(observation: Observation, platform: Platform, now: datetime) -> Plan:
    """Return what should happen. Every call on the same observation gives the same plan."""
    run, jobs = observation.run, observation.jobs
    status = ledger.fold_usage(_forget_gone(run.status, jobs), [job for job in jobs if not job.state.live], now)
    if run.deleting:
        return Plan(status)
    spec, refused = problems(run.spec)
    lost = tuple(hold.missing(spec, platform)) if spec else ()
    if spec is None or (refused := [*_never_had(lost, run, jobs), *_foreign_inputs(spec, run, platform)]):
        words = "; ".join(f"{path}: {text}" for path, text in refused)
        return _stop(run, conditions.refused(ledger.fold_usage(status, live(jobs), now), run, words, now), live(jobs), now)
    if spec.suspend:
        return _stop(run, conditions.suspended(ledger.fold_usage(status, live(jobs), now), run, now), live(jobs), now)
    world = World(run, spec, platform, jobs, observation.rivals, now, observation.lingering, lost)
    status, order = preflight(world, status)
    if status.inputs_key != inputs_key(run):
        looked = status.stage(PREFLIGHT.name)
        hopeless = looked is not None and looked.state is State.FAILED
        return _plan(world, conditions.idle(status) if hopeless else status, order, live(jobs) if hopeless else outdated(world))
    world, status = advance(world, status)
    if any(stage.state is State.FAILED for stage in status.stages):
        return _plan(world, status, (), _given_up(world, status))
    status, orders, yielded = due(world, status)
    return _plan(world, status, orders, (*stale(world, status), *yielded))


def _forget_gone(status: RunStatus, jobs: tuple[JobView, ...]) -> RunStatus:
    """Keep the list of folded Jobs short: those that are there, and the latest that are not, for a list may be an old one."""
    there = {job.uid for job in jobs}
    gone = [uid for uid in status.folded if uid not in there]
    forgotten = set(gone[:-MOST_GONE])
    return status.model_copy(update={"folded": [uid for uid in status.folded if uid not in forgotten]})


def _never_had(names: tuple[hold.Missing, ...], run: Run, jobs: tuple[JobView, ...]) -> Iterator[tuple[str, str]]:
    """What the spec names and the platform never had, by field."""
    for name in names:
        if not hold.had(name, run, jobs):
            yield name.field, name.refusal


def _foreign_inputs(spec: RunSpec, run: Run, platform: Platform) -> Iterator[tuple[str, str]]:
    """What the spec names and belongs to other namespaces."""
    if store := platform.stores.get(spec.store):
        yield from foreign(spec, run.namespace, store)


def _given_up(world: World, status: RunStatus) -> tuple[JobView, ...]:
    """The Jobs of a run that has failed which it need not wait for: those that nobody needs, and those of which no pod has started."""
    unneeded = stale(world, status)
    known = {job.uid for job in unneeded}
    unstarted = (job for job in live(world.jobs) if job.state is JobState.WAITING and job.uid not in known)
    return (*unneeded, *unstarted)


def _stop(run: Run, status: RunStatus, delete: tuple[JobView, ...], now: datetime) -> Plan:
    """Delete what is live. A call that failed earlier is told until it goes well."""
    known = conditions.trouble(run.status) if delete else None
    troubled = conditions.troubled(status, run, known, now) if known else status

    def outcome(_: Mapping[str, Why], well: bool) -> RunStatus:
        return status if well else troubled

    return _told(run, Plan(troubled, delete=delete, outcome=outcome), now)


def _plan(world: World, status: RunStatus, orders: tuple[Order, ...], delete: tuple[JobView, ...] = ()) -> Plan:
    """Write down what is ordered, what is deleted and how the run stands."""
    for order in orders:
        entry = status.stage(order.stage.name) or StageStatus(name=order.stage.name)
        words = attempts.words(entry, world.platform.backoff_limit)
        status = put(status, entry.model_copy(update={"state": State.WAITING, "job": order.job, "message": words, "blocked": ""}))
    delete = tuple(job for job in delete if not any(name.carried_by(job) for name in world.lost))
    status = ledger.fold_usage(status, delete, world.now)
    create = tuple(manifest for order in orders for manifest in _children(order, world.platform))
    known = conditions.trouble(world.run.status) if create or delete else None

    def outcome(blocked: Mapping[str, Why], well: bool) -> RunStatus:
        return _concluded(world, status, blocked, None if well else known)

    plan = Plan(outcome(_blocked(world, orders), well=False), create, delete, outcome=outcome if create or delete else None)
    return _told(world.run, replace(plan, look_again=_look_again(world, plan)), world.now)


def _blocked(world: World, orders: tuple[Order, ...]) -> Mapping[str, Why]:
    """Why Jobs that are ordered now could not be created at the last look: they still are not there."""
    entries = (world.run.status.stage(order.stage.name) for order in orders)
    fingerprints = {order.stage.name: order.fingerprint for order in orders}
    still = (entry for entry in entries if entry and entry.blocked and entry.fingerprint == fingerprints[entry.name])
    return {entry.name: Why(entry.blocked, entry.message.removeprefix(f"{entry.blocked}: ")) for entry in still}


def _concluded(world: World, status: RunStatus, blocked: Mapping[str, Why], trouble: Why | None) -> RunStatus:
    """Return how the run stands. `blocked`: by stage why its Job could not be created; `trouble`: a call for the run that fails."""
    for name, why in blocked.items():
        if entry := status.stage(name):
            words = {"state": State.WAITING, "job": None, "message": f"{why.reason}: {why.message}", "blocked": why.reason}
            status = put(status, entry.model_copy(update=words))
    pinned = status.inputs_key == inputs_key(world.run)
    unended = next(filter(None, world.lingering.values()), None)
    status = conditions.of_run(status, world.run, world.jobs, world.now, pinned, _held(world, status, pinned), unended)
    if trouble:
        status = conditions.troubled(status, world.run, trouble, world.now)
    return throttled(world.run.status, status, world.platform.progress_seconds, world.now)


def _held(world: World, status: RunStatus, pinned: bool) -> hold.Missing | None:
    """Return what the platform has no more and the rest of the run needs."""
    done = {stage.name for stage in status.stages if stage.state.done}
    return hold.held(world.lost, [stage for stage in world.stages if stage.name not in done] if pinned else [PREFLIGHT])


def _children(order: Order, platform: Platform) -> tuple[dict[str, object], ...]:
    """A stage's Job; before one whose pods have to find each other, the Service by which they do."""
    job = build_job(order, platform)
    return (build_service(job), job) if order.stage.nodes > 1 else (job,)


def _told(run: Run, plan: Plan, now: datetime) -> Plan:
    return replace(plan, events=events(run, plan.status, now))


def _look_again(world: World, plan: Plan) -> float | None:
    if plan.finished:
        return None
    if any(unrecorded(world, stage) for stage in world.stages):
        return 0.0
    waiting = [stage for stage in plan.status.stages if stage.state is State.WAITING]
    if any(stage.job is None for stage in waiting):
        return min([SHARING_SECONDS, *filter(None, pauses(world, plan.status))])
    if plan.create or any(job.state is JobState.WAITING and _settles(job, world.now) for job in world.jobs):
        return SETTLES_SECONDS
    return WAITING_SECONDS if waiting else world.platform.progress_seconds


def _settles(job: JobView, now: datetime) -> bool:
    """Whether a Job is too young to be asked why it has no pod."""
    return ledger.seconds(job.created_at, None, now) < SETTLES_SECONDS
