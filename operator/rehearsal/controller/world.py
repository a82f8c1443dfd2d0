"""What every step of a decision looks at: the run, its spec, its platform and the Jobs that were seen. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from rehearsal.api.platform import Platform
from rehearsal.api.run import RunSpec
from rehearsal.controller import hold
from rehearsal.controller.jobs import JobView
from rehearsal.controller.observe import Run
from rehearsal.controller.why import Why
from rehearsal.manifests.jobs import job_name
from rehearsal.pipeline.fingerprint import digest
from rehearsal.pipeline.stage import Kind, Stage

PREFLIGHT = Stage(name="preflight", kind=Kind.PREFLIGHT)


@dataclass(frozen=True)
class World:
    """What every step of a decision looks at. `lost`: the names that the run needs and the platform has no more."""

    run: Run
    spec: RunSpec
    platform: Platform
    jobs: tuple[JobView, ...]
    rivals: tuple[JobView, ...]
    now: datetime
    lingering: Mapping[str, Why | None] = field(default_factory=dict)
    lost: tuple[hold.Missing, ...] = ()
    stages: tuple[Stage, ...] = ()
    known: Mapping[str, str] = field(default_factory=dict)

    def job(self, stage: str, fingerprint: str, attempt: int) -> JobView | None:
        """The Job of that identity, if it is there."""
        name = job_name(self.run.name, self.run.uid, stage, fingerprint, attempt)
        return next((job for job in self.jobs if job.name == name), None)


def inputs_key(run: Run) -> str:
    """Identify the question preflight answers: this generation of the spec, and this request to look again."""
    return digest([run.generation, run.request])[:16]


def live(jobs: tuple[JobView, ...]) -> tuple[JobView, ...]:
    """Return the Jobs that may still do something and are not being deleted."""
    return tuple(job for job in jobs if job.state.live and not job.deleting)
