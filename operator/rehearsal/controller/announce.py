"""Events: what a person wants to know of a run, told once each. Pure.

An event's name follows from what it tells, so that telling it again after a crash tells nothing twice.
"""

import hashlib
from collections.abc import Iterator
from datetime import datetime

from rehearsal.api.status import RunStatus, State
from rehearsal.controller.ledger import stamp
from rehearsal.controller.observe import Run
from rehearsal.controller.progress import held_up
from rehearsal.controller.why import NEEDS_SOMEBODY

Telling = tuple[str, str, str]
"""Type (Normal or Warning), reason, message."""


def events(run: Run, after: RunStatus, now: datetime) -> tuple[dict[str, object], ...]:
    """Return the events that lead from the run's recorded status to the next one."""
    return tuple(_event(run, *telling, now) for telling in _tellings(run.status, after))


def _tellings(before: RunStatus, after: RunStatus) -> Iterator[Telling]:
    for stage in after.stages:
        earlier = before.stage(stage.name)
        if stage.retries and stage.retries.last and earlier and earlier.attempt < stage.attempt:
            yield "Warning", "AttemptFailed", f"{stage.name}: {stage.retries.last}"
        if earlier and (earlier.state, earlier.fingerprint) == (stage.state, stage.fingerprint):
            continue
        if stage.state is State.SUCCEEDED and stage.sealed:
            rows, words = f", {stage.rows} rows" if stage.rows else "", f"; {stage.message}" if stage.message else ""
            yield "Warning" if words else "Normal", "StageSucceeded", f"{stage.name} is done{rows}{words}"
        elif stage.state is State.FAILED:
            yield "Warning", "StageFailed", f"{stage.name}: {stage.message}"
    reused = [s.name for s in after.stages if s.state is State.REUSED and not _was_reused(before, s.name, s.fingerprint)]
    if reused:
        yield "Normal", "StagesReused", f"the store holds {', '.join(reused)} already"
    yield from _turns(before, after)
    yield from _waits(before, after)


def _turns(before: RunStatus, after: RunStatus) -> Iterator[Telling]:
    """What became true of the whole run."""
    for name, kind in (("Complete", "Normal"), ("Suspended", "Normal"), ("Stalled", "Warning")):
        now, then = after.condition(name), before.condition(name)
        if not now or now.status != "True" or (then and (then.status, then.reason) == ("True", now.reason)):
            continue
        if now.reason != "StageFailed":
            yield kind, now.reason, now.message
    was, now = before.condition("Suspended"), after.condition("Suspended")
    if was and was.status == "True" and now and now.status == "False":
        yield "Normal", "Resumed", "spec.suspend is false again"


def _waits(before: RunStatus, after: RunStatus) -> Iterator[Telling]:
    """Which stages have begun to wait, in one event where they wait for the same; what they wait for may change untold."""
    begun: dict[str, list[str]] = {}
    for stage in after.stages:
        earlier = before.stage(stage.name)
        tried_again = earlier is not None and earlier.attempt < stage.attempt  # told as AttemptFailed, with the same words
        if held_up(stage) and stage.blocked not in NEEDS_SOMEBODY and not tried_again and not (earlier and held_up(earlier)):
            begun.setdefault(stage.message, []).append(stage.name)
    for words, names in begun.items():
        yield "Normal", "Waiting", f"{', '.join(names)}: {words}"


def _was_reused(before: RunStatus, name: str, fingerprint: str | None) -> bool:
    stage = before.stage(name)
    return stage is not None and stage.fingerprint == fingerprint and stage.state.done


def _event(run: Run, type_: str, reason: str, message: str, now: datetime) -> dict[str, object]:
    identity = "\0".join((run.uid, run.resource_version, reason, message))
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{run.name[:200]}.{hashlib.sha256(identity.encode()).hexdigest()[:16]}",
            "namespace": run.namespace,
        },
        "involvedObject": {
            "apiVersion": "rehearsal.dev/v1alpha1",
            "kind": "ReconstructionRun",
            "namespace": run.namespace,
            "name": run.name,
            "uid": run.uid,
        },
        "type": type_,
        "reason": reason,
        "message": message[:1024],
        "source": {"component": "rehearsal"},
        "firstTimestamp": stamp(now),
        "lastTimestamp": stamp(now),
        "count": 1,
    }
