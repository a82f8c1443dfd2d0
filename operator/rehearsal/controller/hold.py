"""What a run names and its platform does not have. Pure.

Where the platform never had it, the run is refused. Where it had, as after a `helm upgrade` without its values, the run is held: nothing
is started and nothing is deleted of what needs the name, and the run goes on when the platform has it again.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rehearsal.api.platform import Platform
from rehearsal.api.run import RunSpec
from rehearsal.api.status import StageStatus
from rehearsal.controller.jobs import JobView
from rehearsal.controller.observe import Run
from rehearsal.pipeline.fingerprint import part_of
from rehearsal.pipeline.stage import Stage

ENDPOINT_PART = "spec.member.endpoint.name"
"""The part of a stage's fingerprint that names the endpoint it asks."""


@dataclass(frozen=True)
class Missing:
    """One name. `kind`: store or endpoint; `field`: of the spec; `has`: the names of that kind that the platform has."""

    kind: str
    name: str
    field: str
    has: str

    @property
    def refusal(self) -> str:
        """What is said of a name that the platform never had."""
        return f"the platform has no {self.kind} {self.name!r}; it has {self.has}"

    @property
    def loss(self) -> str:
        """What is said of a name that it has no more."""
        return f"the platform has no {self.kind} {self.name!r} any more; it has {self.has}"

    @property
    def reason(self) -> str:
        """The loss in one word, as a condition has it."""
        return f"{self.kind.capitalize()}Gone"

    def needed_by(self, stage: Stage) -> bool:
        """Return whether a stage cannot be started without it: every stage needs the store."""
        return self.kind == "store" or (stage.endpoint is not None and stage.endpoint.name == self.name)

    def carried_by(self, job: JobView) -> bool:
        """Return whether a Job was made when the platform had it."""
        return self.name == (job.store if self.kind == "store" else job.endpoint)

    def asked_by(self, entry: StageStatus) -> bool:
        """Return whether a stage was recorded that asks the endpoint of this name: it was there then."""
        return self.kind == "endpoint" and entry.parts.get(ENDPOINT_PART) == part_of(self.name)


def missing(spec: RunSpec, platform: Platform) -> Iterator[Missing]:
    """Yield what the spec names and the platform does not have."""
    if spec.store not in platform.stores:
        yield Missing("store", spec.store, "spec.store", _listed(platform.stores))
    for i, member in enumerate(spec.reconstructed.committee.members if spec.reconstructed else ()):
        if member.endpoint and member.endpoint.name not in platform.endpoints:
            field = f"spec.rehearsal.reconstructed.committee.members[{i}].endpoint.name"
            yield Missing("endpoint", member.endpoint.name, field, _listed(platform.endpoints))


def had(name: Missing, run: Run, jobs: Iterable[JobView]) -> bool:
    """Return whether the platform is known to have had a name.

    The present spec was at work already, a Job carries the name, or a stage was recorded that asks it, be it of an earlier generation.
    """
    refused = (stalled := run.status.condition("Stalled")) is not None and stalled.reason == "Refused"
    at_work = run.status.observed_generation == run.generation and bool(run.status.stages) and not refused
    return at_work or any(map(name.carried_by, jobs)) or any(map(name.asked_by, run.status.stages))


def held(lost: Iterable[Missing], stages: Iterable[Stage]) -> Missing | None:
    """Return the first of the names that some of the stages cannot be started without."""
    left = tuple(stages)
    return next((name for name in lost if any(map(name.needed_by, left))), None)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
