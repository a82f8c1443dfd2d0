"""The status of a ReconstructionRun: conditions, stages, ledger of seals, progress, usage. Bounded in size."""

from enum import StrEnum

from pydantic import Field

from rehearsal.api.messages import Usage
from rehearsal.api.model import ApiModel


class State(StrEnum):
    """Where a stage stands."""

    PENDING = "Pending"
    WAITING = "Waiting"
    RUNNING = "Running"
    REUSED = "Reused"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"

    @property
    def done(self) -> bool:
        """Nothing is left to do."""
        return self in (State.REUSED, State.SUCCEEDED)


class Condition(ApiModel):
    """metav1.Condition."""

    type: str
    status: str
    reason: str
    message: str = Field("", max_length=1024)
    last_transition_time: str
    observed_generation: int


class Seal(ApiModel):
    """The ledger's entry: this stage's output is sealed and needs no Job."""

    fingerprint: str
    manifest_digest: str


class StageStatus(ApiModel):
    """One stage, as last observed."""

    name: str
    state: State = State.PENDING
    fingerprint: str | None = None
    parts: dict[str, str] = Field(default_factory=dict, description="Short digests of what the fingerprint is made of, by input.")
    reason: str = Field("", max_length=512, description="Why it ran, or was reused.")
    message: str = Field("", max_length=1024, description="Why it waits or failed, one line.")
    exit_code: int | None = Field(None, description="Of the worker, where the stage failed.")
    sealed: Seal | None = None
    attempt: int = Field(0, ge=0, description="Jobs of this fingerprint that failed or were lost.")
    job: str | None = None
    done: int = 0
    total: int = 0
    unit: str = "rows"
    per_second: float = 0.0
    tokens_per_second: float = 0.0
    rows: int | None = None
    refused: dict[str, int] = Field(default_factory=dict)
    facts: dict[str, str | int | float] = Field(default_factory=dict)
    started_at: str | None = None
    finished_at: str | None = None
    usage: Usage = Field(default_factory=Usage)
    gpu_seconds: float = 0.0


class RunUsage(ApiModel):
    """What the run has consumed, folded in by Job UID before a Job is deleted."""

    gpu_hours: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class RunStatus(ApiModel):
    """The whole status."""

    observed_generation: int = 0
    conditions: list[Condition] = Field(default_factory=list)
    inputs: dict[str, str] = Field(
        default_factory=dict, description="External inputs, pinned by preflight until the generation changes."
    )
    inputs_key: str = Field("", description="The generation and request that preflight answered for.")
    found: dict[str, str] = Field(default_factory=dict, description="Seals that preflight found: stage -> digest of the seal.")
    rounds: int = Field(1, description="Rounds of elicitation.")
    stages: list[StageStatus] = Field(default_factory=list)
    progress: int = Field(0, ge=0, le=100, description="Percent of stages' work done.")
    progress_at: str | None = Field(None, description="When figures were last written.")
    eta: str | None = None
    usage: RunUsage = Field(default_factory=RunUsage)
    folded: list[str] = Field(default_factory=list, description="UIDs of Jobs whose usage is in `usage`.")

    def stage(self, name: str) -> StageStatus | None:
        """The stage of that name, if it is known."""
        return next((stage for stage in self.stages if stage.name == name), None)

    def condition(self, type_: str) -> Condition | None:
        """The condition of that type, if it is set."""
        return next((condition for condition in self.conditions if condition.type == type_), None)
