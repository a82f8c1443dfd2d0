"""The entries of the status: what each stage's Job was seen to do, which seals are remembered, what was consumed. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from rehearsal.api.messages import ExitCode, Termination
from rehearsal.api.status import RunStatus, Seal, StageStatus, State
from rehearsal.controller.jobs import JobState, JobView

MOST_SILENT = 4
"""Attempts in a row that may end well and say nothing."""
DEADLINE = "DeadlineExceeded"
"""The reason that Kubernetes gives for a Job that its deadline ended."""
LONG_WAIT = 600.0
"""Seconds without a node that are worth a word where the deadline ended a Job."""
MAX_VOIDS = 5
"""A store that keeps losing seals is not worked around for ever."""

HINTS: Mapping[int, str] = {
    ExitCode.UNAVAILABLE: "a service did not answer",
    ExitCode.BUG: "a bug; the log has the details",
    ExitCode.DISK: "the disk is full or broken",
    ExitCode.DEVICE: "the engine or its device is unusable",
    ExitCode.KILLED: "killed; if it ran out of memory, give the pod more",
}


def reused(entry: StageStatus, found: str | None, why: str = "the store holds this result already") -> StageStatus:
    """Record a seal that preflight found in the store, or that another run's Job has just made there."""
    if found is None or entry.sealed or entry.fingerprint is None:
        return entry
    seal = Seal(fingerprint=entry.fingerprint, manifest_digest=found)
    return entry.model_copy(update={"state": State.REUSED, "sealed": seal, "reason": why, "message": ""})


def seen(entry: StageStatus, job: JobView | None) -> StageStatus:
    """Return the entry as its Job shows it. A recorded seal outlives its Job; a finished Job without a word is tried again."""
    if entry.sealed or entry.state is State.SUCCEEDED:
        return entry
    if job is None:
        still = {"state": State.PENDING, "message": "", "blocked": ""}
        return entry if entry.state is State.FAILED else entry.model_copy(update=still)
    taken = {"last_disruption": job.last_disruption} if job.last_disruption else {}
    before, words = entry, job.stuck.message if job.stuck and job.state is JobState.RUNNING else job.waits
    known = {"job": job.name, "started_at": _placed(before, job), "message": words, "blocked": "", **taken}
    entry = entry.model_copy(update=known)
    if job.state is JobState.WAITING:
        return entry.model_copy(update={"state": State.WAITING})
    if job.state is JobState.RUNNING:
        figures = job.progress.model_dump() if job.progress else {}
        if figures.get("done", 0) > entry.done:
            figures["disrupted"] = job.disrupted
        if figures and (figures["done"] > entry.done or not entry.total):
            figures["moved_at"] = job.progress_at
        return entry.model_copy(update={"state": State.RUNNING, **figures})
    if job.state is JobState.FAILED:
        ended = {
            "finished_at": job.finished_at,
            "exit_code": job.exit_code,
            "message": _in_time(before, job) or why_failed(job),
            "gpu_seconds": _gpu_seconds(job, entry.started_at),
        }
        return entry.model_copy(update={"state": State.FAILED, **ended})
    word = job.termination
    if word is None or not (word.manifest_digest or word.inputs or word.another_round):
        return _silent(entry)
    if word.another_round:
        return entry
    return _succeeded(entry, job, word)


def _silent(entry: StageStatus) -> StageStatus:
    """The Job's word was lost: its next attempt finds what is sealed. One that never says a word has failed."""
    if entry.attempt < MOST_SILENT or entry.retries:  # attempts that failed were not silent
        return again(entry)
    message = f"finished {entry.attempt + 1} times without a word; its log may say why"
    return entry.model_copy(update={"state": State.FAILED, "exit_code": ExitCode.BUG, "message": message})


def _succeeded(entry: StageStatus, job: JobView, word: Termination) -> StageStatus:
    seal = Seal(fingerprint=job.fingerprint, manifest_digest=word.manifest_digest) if word.manifest_digest else None
    total = entry.total or (word.rows or 0)
    return entry.model_copy(
        update={
            "state": State.SUCCEEDED,
            "sealed": seal,
            "finished_at": job.finished_at,
            "rows": word.rows,
            "refused": word.refused,
            "facts": word.facts,
            "usage": word.usage,
            "gpu_seconds": _gpu_seconds(job, entry.started_at),
            "done": total,
            "total": total,
            "message": (word.message or "")[:1024],
        }
    )


def _gpu_seconds(job: JobView, since: str | None) -> float:
    return job.devices * seconds(since, job.finished_at, moment(job.finished_at)) if job.finished_at else 0.0


def why_failed(job: JobView) -> str:
    """Return one line on why a Job failed: the worker's own words where it left any."""
    if job.hopeless:
        return job.why[:1024]
    if job.termination and job.termination.message:
        return f"{job.termination.reason}: {job.termination.message}"[:1024]
    if job.exit_code is not None:
        hint = HINTS.get(job.exit_code, "ended early")
        return f"exit code {job.exit_code}: {hint}" if job.whole else f"exit code {job.exit_code}: {hint}. {job.why}"[:1024].strip()
    lost = job.gone and job.ended_by in ("BackoffLimitExceeded", "MaxFailedIndexesExceeded")
    return ("its pods are gone without a word: deleted, or lost with their node. " * lost + job.why)[:1024]


def _in_time(before: StageStatus, job: JobView) -> str:
    """Of a Job that its deadline ended: how much of that time went by without a node. `before`: what was recorded of it at work."""
    if job.ended_by != DEADLINE or before.job != job.name or job.activated_at is None:
        return ""
    if before.state is State.FAILED:
        return before.message
    counted = f"{why_failed(job)}: {job.deadline} s (deadlineSeconds of the platform), which count from {job.activated_at} on"
    if before.started_at is None:
        words = f"; no pod of it was seen on a node in that time. {before.message}".strip()
        return f"{counted}{words}"[:1024]
    waited = seconds(job.activated_at, before.started_at, moment(before.started_at))
    return f"{counted}; the first node took a pod of it {waited:.0f} s later"[:1024] if waited >= LONG_WAIT else ""


def _placed(entry: StageStatus | None, job: JobView) -> str | None:
    """When a node took the first pod. The pods of a Job that its deadline ends are gone by then: what was recorded of it tells."""
    ends = job.gone and (job.state is JobState.RUNNING or job.ended_by == DEADLINE)
    return entry.started_at if ends and entry and entry.job == job.name else job.started_at


def again(entry: StageStatus) -> StageStatus:
    """Return the entry ready for its next attempt: nothing of the last one but its number is kept."""
    kept = {name: getattr(entry, name) for name in ("name", "kind", "fingerprint", "parts", "reason", "output")}
    return StageStatus(**kept, attempt=entry.attempt + 1)


def void(status: RunStatus, jobs: Iterable[JobView]) -> RunStatus:
    """Forget the seals that readers found missing, and let the readers try again once they are back."""
    entries = {entry.name: entry for entry in status.stages}
    found = dict(status.found)
    for job in jobs:
        reader = entries.get(job.stage)
        lost = job.termination.void if job.state is JobState.FAILED and job.termination else None
        if lost not in entries or reader is None or (reader.job, reader.state) != (job.name, State.FAILED):
            continue
        if entries[lost].attempt < MAX_VOIDS:
            reason = f"its seal was missing from the store when {job.stage} read it"
            entries[lost] = again(entries[lost]).model_copy(update={"reason": reason})
            entries[job.stage] = again(reader)
            found.pop(lost, None)
    return status.model_copy(update={"stages": list(entries.values()), "found": found})


def pin(status: RunStatus, key: str, word: Termination, names: Iterable[str]) -> RunStatus:
    """Record preflight's answer: the digests of the inputs, the seals it found; failures and lost seals of before are cleared."""
    stages = [again(stage) if _outdated(stage, word) else stage for stage in status.stages]
    inputs = {name: word.inputs[name] for name in names}
    pinned = {"inputs": inputs, "inputs_key": key, "found": word.sealed, "rounds": 1, "stages": stages}
    return status.model_copy(update=pinned)


def _outdated(stage: StageStatus, word: Termination) -> bool:
    """Whether preflight's answer voids the entry: it failed, or its seal is not in the store any more."""
    return stage.state is State.FAILED or (stage.sealed is not None and stage.name not in word.sealed)


def fold_usage(status: RunStatus, jobs: Sequence[JobView], now: datetime) -> RunStatus:
    """Add what these Jobs consumed to the run's usage, each once, by UID. UIDs of Jobs that are gone are forgotten."""
    usage, folded = status.usage, list(status.folded)
    for job in jobs:
        if job.uid in folded:
            continue
        tokens = job.termination.usage if job.termination else None
        held = usage.gpu_seconds + job.devices * seconds(_placed(status.stage(job.stage), job), job.finished_at, now)
        usage = usage.model_copy(
            update={
                "gpu_seconds": held,
                "gpu_hours": round(held / 3600, 2),
                "prompt_tokens": usage.prompt_tokens + (tokens.prompt_tokens if tokens else 0),
                "completion_tokens": usage.completion_tokens + (tokens.completion_tokens if tokens else 0),
            }
        )
        folded.append(job.uid)
    return status.model_copy(update={"usage": usage, "folded": folded})


def seconds(start: str | None, end: str | None, now: datetime) -> float:
    """Return the seconds between two server timestamps, up to now where the end is open; never negative."""
    if start is None:
        return 0.0
    return max(0.0, (moment(end) if end else now).timestamp() - moment(start).timestamp())


def moment(text: str) -> datetime:
    """Return a Kubernetes timestamp as an aware datetime."""
    return datetime.fromisoformat(text).astimezone(UTC)


def stamp(when: datetime) -> str:
    """Return a datetime as Kubernetes writes it: UTC, whole seconds."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
