"""The status of a ReconstructionRun: conditions, stages, ledger of seals, progress, usage. Bounded in size."""

from typing import Annotated

from pydantic import Field, StringConstraints

from rehearsal.api.messages import Usage
from rehearsal.api.model import ApiModel, Choice
from rehearsal.api.rules import Unique

Digest = Annotated[str, StringConstraints(max_length=128)]
Short = Annotated[str, StringConstraints(max_length=64)]
Time = Annotated[str, StringConstraints(max_length=32)]
"""RFC 3339, UTC."""


class State(Choice):
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

    type: str = Field(max_length=64, description="Complete, Failed, Suspended, Ready, Reconciling or Stalled.")
    status: str = Field(pattern="^(True|False|Unknown)$", max_length=7, description="Whether it holds: True, False or Unknown.")
    reason: str = Field(max_length=64, description="Why, in one CamelCase word.")
    message: str = Field("", max_length=1024, description="Why, in a sentence.")
    last_transition_time: Time = Field(description="When `status` last changed.")
    observed_generation: int = Field(description="The generation of the spec that this was said of.")


class Seal(ApiModel):
    """The ledger's entry: this stage's output is sealed and needs no Job."""

    fingerprint: Digest = Field(description="Of the stage, when it was sealed.")
    manifest_digest: Digest = Field(description="SHA-256 of the seal, which names every file of the output by its own.")


class Retries(ApiModel):
    """How the attempts of a stage ended that are Jobs of their own: nodes that train together."""

    failed: int = Field(
        0, description="Attempts that failed since the stage was begun or retried, but for those that found no room."
    )
    disrupted: int = Field(0, description="Attempts that drains or preemption ended, in a row and without progress.")
    leaving: bool = Field(False, description="A pod of the present attempt was seen to be drained or preempted.")
    last: str = Field("", max_length=1024, description="Why the last attempt ended, one line.")


class Disruption(ApiModel):
    """How a pod was taken away by others than its own program."""

    reason: Short = Field(
        description="Kubernetes' word: TerminationByKubelet, PreemptionByScheduler, DeletionByTaintManager, EvictionByEvictionAPI."
    )
    message: str = Field("", max_length=512, description="The words of who did it.")
    at: Time | None = Field(None, description="When it was announced.")


class StageStatus(ApiModel):
    """One stage, as last observed."""

    name: str = Field(max_length=64, description="The stage, by its name in the stage table.")
    kind: str = Field("", max_length=16, description="The program that carries it out.")
    state: State = Field(State.PENDING, description="Where it stands.")
    fingerprint: Digest | None = Field(None, description="Identity of its output: a digest of all that determines it.")
    parts: dict[str, Short] = Field(
        default_factory=dict, max_length=128, description="Short digests of what the fingerprint is made of, by input."
    )
    reason: str = Field("", max_length=512, description="Why it ran, or was reused.")
    message: str = Field(
        "", max_length=1024, description="Why it waits or failed, one line. Once done: what to know of its output."
    )
    blocked: Short = Field("", description="Why its Job could not be created, in one word; `message` has the API server's.")
    exit_code: int | None = Field(None, description="Of the worker, where the stage failed.")
    sealed: Seal | None = Field(None, description="The seal of its output, once there is one.")
    output: str = Field("", max_length=256, description="Where the output lies, relative to the store's root.")
    attempt: int = Field(0, ge=0, description="Jobs of this fingerprint that failed or were lost.")
    job: str | None = Field(None, max_length=63, description="The Job that carries it out.")
    done: int = Field(0, description="Units done.")
    total: int = Field(0, description="Units in all.")
    unit: str = Field("rows", max_length=16, description="What is counted: rows, steps, shards.")
    moved_at: Time | None = Field(None, description="When `done` was last seen to have grown.")
    per_second: float = Field(0.0, description="Units a second, lately.")
    tokens_per_second: float = Field(0.0, description="Tokens a second, lately.")
    rows: int | None = Field(None, description="Rows of the output.")
    refused: dict[str, int] = Field(default_factory=dict, max_length=64, description="Rows refused, by reason.")
    facts: dict[str, str | int | float] = Field(default_factory=dict, max_length=128, description="A few figures of the output.")
    disrupted: int = Field(0, description="Pods that had been drained or preempted when a row was last committed.")
    last_disruption: Disruption | None = Field(None, description="The last time that a pod was evicted, drained or preempted.")
    retries: Retries | None = Field(None, description="How earlier attempts ended, where pods fail together.")
    started_at: Time | None = Field(None, description="When its Job started.")
    finished_at: Time | None = Field(None, description="When it ended.")
    usage: Usage = Field(default_factory=Usage, description="Tokens.")
    gpu_seconds: float = Field(0.0, description="GPUs held, times seconds.")

    @property
    def moving(self) -> bool:
        """A Job of the stage is, or should be, at work."""
        return self.state in (State.RUNNING, State.WAITING)


class RunUsage(ApiModel):
    """What the run has consumed, folded in by Job UID before a Job is deleted."""

    gpu_seconds: float = Field(0.0, description="GPUs held, times seconds.")
    gpu_hours: float = Field(0.0, description="The same in hours, to the hundredth.")
    prompt_tokens: int = Field(0, description="Tokens read by engines and endpoints.")
    completion_tokens: int = Field(0, description="Tokens written by them.")


class Funnel(ApiModel):
    """What became of the instructions of a run that reconstructs, step by step, and what its losses did to lengths.

    Lengths are medians, in characters. A loss that bends the set shows as a difference between all and kept.
    """

    rounds: int = Field(description="Rounds of elicitation that it took.")
    elicited: int = Field(description="Instructions elicited.")
    accepted: int = Field(description="Of them, let through by the filters.")
    considered: int = Field(description="Of them, looked at until enough conversations were whole.")
    answered: int = Field(description="Of them, with at least one whole answer.")
    judged: int = Field(description="Of them, with an answer that got enough verdicts.")
    kept: int = Field(
        description="Of them, encodable and at most `training.sequenceLength` tokens long: the conversations selected."
    )
    mixed: int | None = Field(None, description="Of them, in the mix.")
    answers: int = Field(description="Answers to the instructions that were looked at.")
    answers_cut_off: int = Field(description="Of them, cut off at their most tokens.")
    lost: dict[str, int] = Field(default_factory=dict, max_length=64, description="Instructions lost on the way, by reason.")
    instruction_length: int = Field(description="Of the instructions looked at.")
    instruction_length_kept: int = Field(description="Of those kept.")
    answer_length: int = Field(description="Of all answers to them.")
    answer_length_kept: int = Field(description="Of those kept.")


class RunResult(ApiModel):
    """What a complete run leaves in its store, relative to the store's root, and the figures of its report."""

    model: str = Field("", max_length=256, description="The specialised model: its seal names the files.")
    dataset: str = Field("", max_length=256, description="The reconstructed set.")
    report: str = Field("", max_length=256, description="The report's page and data.")
    scores: dict[str, str | int | float] = Field(
        default_factory=dict, max_length=128, description="Scores before and after, and what was forgotten."
    )


class RunStatus(ApiModel):
    """The whole status."""

    observed_generation: int = Field(0, description="The generation of the spec that this status was made of.")
    summary: str = Field("", max_length=128, description="What is going on, for a table's column.")
    conditions: Annotated[list[Condition], Unique("type")] = Field(
        default_factory=list, max_length=16, description="The run's state, for `kubectl wait` and GitOps."
    )
    inputs: dict[str, Digest] = Field(
        default_factory=dict, max_length=64, description="External inputs, pinned by preflight until the generation changes."
    )
    inputs_key: str = Field("", max_length=128, description="The generation and request that preflight answered for.")
    found: dict[str, Digest] = Field(
        default_factory=dict, max_length=128, description="Seals that preflight found: stage -> digest of the seal."
    )
    rounds: int = Field(1, description="Rounds of elicitation.")
    stages: Annotated[list[StageStatus], Unique("name")] = Field(
        default_factory=list, max_length=128, description="Every stage, in the order of the stage table."
    )
    progress: int = Field(0, ge=0, le=100, description="Percent of stages' work done.")
    progress_at: Time | None = Field(None, description="When figures were last written.")
    eta: Time | None = Field(None, description="When the run would be complete at the pace so far.")
    remaining: str = Field("", max_length=16, description="The time until then, in words.")
    funnel: Funnel | None = Field(None, description="Set once a Job of this run has selected.")
    result: RunResult | None = Field(None, description="What the run left.")
    usage: RunUsage = Field(default_factory=RunUsage, description="What the run has consumed.")
    folded: Annotated[list[Short], Unique()] = Field(
        default_factory=list, max_length=1024, description="UIDs of Jobs whose usage is in `usage`."
    )

    def stage(self, name: str) -> StageStatus | None:
        """The stage of that name, if it is known."""
        return next((stage for stage in self.stages if stage.name == name), None)

    def condition(self, type_: str) -> Condition | None:
        """The condition of that type, if it is set."""
        return next((condition for condition in self.conditions if condition.type == type_), None)
