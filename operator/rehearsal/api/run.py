"""The spec of a ReconstructionRun: every knob, its default (the paper's value) and its bounds.

These models are the one source of the resource's schema. What crosses files or services (a model that is not there, a short
data set) is preflight's to refuse; what is refused here needs the manifest alone.
"""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from rehearsal.api.model import Choice, SpecModel, without_nulls
from rehearsal.api.names import ClassName, Commit, LabelKey, LabelValue, Name, QueueName, Salt, StoreUri
from rehearsal.api.reconstruction import Reconstructed
from rehearsal.api.rules import Rule, Unique
from rehearsal.api.serving import Fraction, Model, Toleration


class DataFormat(Choice):
    """Layout of a JSONL row; Auto tells them apart by the first row's keys."""

    AUTO = "Auto"
    MESSAGES = "Messages"
    PROMPT_RESPONSE = "PromptResponse"
    SHAREGPT = "ShareGPT"
    ALPACA = "Alpaca"


class Domain(SpecModel):
    """A JSONL file of conversations in the store."""

    uri: StoreUri = Field(description="store://path of a .jsonl file.")
    format: DataFormat = Field(DataFormat.AUTO, description="Layout of a row.")


class Preset(Choice):
    """The public data sets that the paper compares with (its Table 1)."""

    SHAREGPT = "sharegpt"
    EVOL_INSTRUCT = "evol-instruct"
    GENQA = "genqa"
    OPENHERMES = "openhermes"
    OPENHERMES_2_5 = "openhermes-2.5"
    TULU_V2_MIX = "tulu-v2-mix"
    WILDCHAT = "wildchat"
    ULTRACHAT = "ultrachat"


class Suite(Choice):
    """Well-known sets of benchmarks."""

    OPEN_LLM_LEADERBOARD_V2 = "open-llm-leaderboard-v2"


class Dataset(SpecModel):
    """A ready data set to rehearse, instead of a reconstructed one: a preset, or a JSONL file in the store."""

    rules = (
        Rule(
            "a dataset must have either a `preset` or a `uri`",
            cel="has(self.preset) != has(self.uri)",
            holds=lambda dataset: (dataset.preset is None) != (dataset.uri is None),
        ),
        Rule(
            "`revision` may only be set with a `preset`",
            cel="has(self.preset) || !has(self.revision)",
            holds=lambda dataset: dataset.preset is not None or dataset.revision is None,
        ),
    )

    preset: Preset | None = Field(None, description="A well-known set, brought from the hub.")
    revision: Commit | None = Field(
        None, description="Commit of the preset's repository; the newest when absent, recorded with the result."
    )
    uri: StoreUri | None = Field(None, description="store://path of a .jsonl file.")
    format: DataFormat = Field(DataFormat.AUTO, description="Layout of a row.")
    count: int | None = Field(
        None,
        ge=1,
        le=10_000_000,
        description="Conversations of the mix, drawn by the seed from those that fit; all that fit when absent.",
    )


class Rehearsal(SpecModel):
    """What is rehearsed against forgetting: at most one of the two; neither is a control without rehearsal."""

    rules = (
        Rule(
            "at most one of `reconstructed` and `dataset` may be set",
            cel="!(has(self.reconstructed) && has(self.dataset))",
            holds=lambda chosen: chosen.reconstructed is None or chosen.dataset is None,
        ),
    )

    reconstructed: Reconstructed | None = Field(None, description="Rebuild the alignment data from the base model itself.")
    dataset: Dataset | None = Field(None, description="A ready data set to rehearse.")


class MixtureMode(Choice):
    """How many rows of either set are taken."""

    PROPORTION = "Proportion"
    CONCATENATE = "Concatenate"


class MixtureUnit(Choice):
    """What the domain fraction counts."""

    SAMPLES = "Samples"
    TOKENS = "Tokens"


class Mixture(SpecModel):
    """How rehearsal and domain rows are mixed. The paper: 17 % domain rows."""

    rules = (
        Rule(
            "totalSamples and repeatDomain may only be set with the mode Proportion",
            cel="self.mode == 'Proportion' || !(has(self.totalSamples) || self.repeatDomain)",
            holds=lambda mixture: (
                mixture.mode is MixtureMode.PROPORTION or (mixture.total_samples is None and not mixture.repeat_domain)
            ),
        ),
    )

    mode: MixtureMode = Field(
        MixtureMode.PROPORTION,
        description="Proportion holds domainFraction; Concatenate takes both sets whole, whatever the fraction.",
    )
    domain_fraction: Fraction = Field(0.17, description="Share of domain rows (Proportion). No effect without rehearsal.")
    unit: MixtureUnit = Field(MixtureUnit.SAMPLES, description="What the fraction counts.")
    total_samples: int | None = Field(
        None, ge=1, le=100_000_000, description="Rows of the mix; by default all rehearsal rows set it."
    )
    repeat_domain: bool = Field(False, description="Repeat domain rows where there are too few; otherwise a shortfall is refused.")


class Offload(Choice):
    """Whether the optimizer's state is kept in host memory."""

    AUTO = "Auto"
    OPTIMIZER = "Optimizer"
    NONE = "None"


class Training(SpecModel):
    """Full fine-tune with AdamW under DeepSpeed ZeRO; the defaults are the paper's."""

    nodes: int = Field(1, ge=1, le=64, description="Pods that train together, each of processesPerNode ranks.")
    processes_per_node: int = Field(8, ge=1, le=16, description="Ranks a pod, one GPU each.")
    epochs: int = Field(1, ge=1, le=100, description="Passes over the mix.")
    learning_rate: float = Field(1.0e-6, gt=0, le=1, description="AdamW's peak learning rate.")
    warmup_fraction: float = Field(0.0, ge=0, le=0.5, description="Share of steps of linear warm-up before the rate is constant.")
    global_batch: int = Field(64, ge=1, le=65_536, description="Samples a step, over all ranks, however they are packed.")
    sequence_length: int = Field(4096, ge=16, le=1_048_576, description="Tokens of a pack; longer rows are refused and counted.")
    packing: bool = Field(True, description="Pack samples with block-diagonal attention.")
    zero_stage: int = Field(3, ge=1, le=3, description="DeepSpeed ZeRO stage.")
    offload: Offload = Field(Offload.AUTO, description="Auto offloads where the arithmetic asks for it.")
    checkpoint_minutes: float = Field(60, ge=0, le=10_080, description="Minutes between checkpoints.")
    gradient_checkpointing: bool = Field(True, description="Recompute activations in the backward pass.")


class EvaluationTask(SpecModel):
    """One lm-evaluation-harness task file in the store, without Python in it."""

    name: Name = Field(description="What the run and its report call the task.")
    uri: StoreUri = Field(description="store://path of the task's .yaml; its data files lie beside it.")
    role: Literal["General", "Domain"] = Field(
        "General", description="General: what must not be forgotten. Domain: what is to be learned."
    )


class Evaluation(SpecModel):
    """What is measured before and after, by lm-evaluation-harness."""

    suite: Suite | None = Field(None, description="A well-known suite; its questions are brought from the hub.")
    tasks: Annotated[list[EvaluationTask], Unique("name")] = Field(
        default_factory=list, max_length=8, description="Task files in the store; none skips evaluation."
    )
    limit: int | None = Field(None, ge=1, le=1_000_000, description="Questions a task, for a quick look.")
    max_forgetting: float | None = Field(None, ge=0, le=100, description="General points that may be lost before the run fails.")


class Categories(SpecModel):
    """A YAML list of {name, pattern, share}: how the report names kinds of elicited instruction, and true shares if known."""

    uri: StoreUri = Field(description="store://path of the .yaml file.")


class Scheduling(SpecModel):
    """Where pods may run. Nothing here changes what is computed."""

    node_selector: Annotated[dict[LabelKey, LabelValue], BeforeValidator(without_nulls)] = Field(
        default_factory=dict, max_length=16, description="Labels a node must have."
    )
    tolerations: list[Toleration] = Field(default_factory=list, max_length=16, description="Taints that are tolerated.")
    topology: LabelKey | None = Field(None, description="Topology level that a Job's pods share (Kueue).")
    priority_class_name: ClassName | None = Field(None, description="Priority class of every pod.")


class RunSpec(SpecModel):
    """The spec of a ReconstructionRun."""

    suspend: bool = Field(False, description="Stops everything, loses nothing.")
    retry: Salt = Field("", description="Change it to clear a failure.")
    rerun: Salt = Field("", description="Change it to sample anew.")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Seeds every draw.")
    store: Name = Field("default", description="The artifact store, by the platform's name for it.")
    queue_name: QueueName | None = Field(None, description="Kueue LocalQueue.")
    base_model: Model = Field(description="The aligned model to specialise.")
    rehearsal: Rehearsal = Field(default_factory=Rehearsal, description="What is rehearsed against forgetting.")
    domain: Domain = Field(description="What the model is to learn.")
    mixture: Mixture = Field(default_factory=Mixture, description="How rehearsal and domain rows are mixed.")
    training: Training = Field(default_factory=Training, description="Full fine-tune.")
    evaluation: Evaluation = Field(default_factory=Evaluation, description="What is measured before and after.")
    categories: Categories | None = Field(None, description="Kinds of instruction, for the report.")
    scheduling: Scheduling = Field(default_factory=Scheduling, description="Where pods may run.")
    ttl_seconds_after_finished: int = Field(
        86_400,
        ge=600,
        le=31_536_000,
        description="When finished Jobs are removed; never the run. Long enough for their end to be seen.",
    )

    @property
    def reconstructed(self) -> Reconstructed | None:
        """The reconstruction this run asks for, if any."""
        return self.rehearsal.reconstructed
