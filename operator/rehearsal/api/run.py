"""The spec of a ReconstructionRun: every knob, its default (the paper's value) and its bounds.

The CRD's schema is generated from these models. What crosses files or services (a model that is not there, a short
data set) is preflight's to refuse; what is refused here needs the manifest alone.
"""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from rehearsal.api.model import ApiModel

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=32)]
Uri = Annotated[str, StringConstraints(pattern=r"^(store|hf|run)://[^\s\\]+$", max_length=512)]
Salt = Annotated[str, StringConstraints(max_length=32)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Toleration = Annotated[dict[str, str | int], Field(max_length=5)]


class Dtype(StrEnum):
    """Number format the engine computes in (vLLM's `--dtype`)."""

    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    FLOAT32 = "float32"


class Serving(ApiModel):
    """How vLLM serves a model. Only `dtype` and `maxModelLen` can change what a stage computes."""

    tensor_parallel: int = Field(1, ge=1, le=16, description="GPUs that hold one copy of the model.")
    replicas: int = Field(1, ge=1, le=64, description="Copies that work side by side, a pod each.")
    dtype: Dtype = Field(Dtype.BFLOAT16, description="Number format of weights and activations.")
    max_model_len: int = Field(8192, ge=128, le=1_048_576, description="Longest prompt plus answer, in tokens.")


class Model(ApiModel):
    """A model by address: `hf://owner/name@<commit>`, `store://path` or `run://earlier-run`."""

    uri: Uri = Field(description="store://path in the run's store, hf://owner/name@<40-hex commit>, or run://name.")
    serving: Serving = Field(default_factory=Serving, description="How the inference engine serves it.")


class Sampling(ApiModel):
    """Nucleus sampling, in vLLM's words."""

    temperature: float = Field(1.0, ge=0, le=2, description="0 is greedy.")
    top_p: float = Field(1.0, gt=0, le=1, description="Mass of the nucleus.")
    max_tokens: int = Field(2048, ge=1, le=131_072, description="Longest answer, in tokens.")


class PreQuery(ApiModel):
    """What precedes the user's words in the chat template; derived from the tokenizer unless it is written here."""

    text: str | None = Field(None, max_length=4096, description="Set only where the template cannot be derived.")


class Length(ApiModel):
    """Bounds on an instruction's length, in tokens of the base model."""

    min: int = Field(1, ge=1, le=131_072, description="Fewest tokens.")
    max: int = Field(2048, ge=1, le=131_072, description="Most tokens.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min {self.min} is more than max {self.max}")
        return self


class DuplicateAction(StrEnum):
    """What happens to a near duplicate."""

    DROP = "Drop"
    COUNT = "Count"


class NearDuplicates(ApiModel):
    """MinHash near duplicates."""

    threshold: Fraction = Field(0.8, description="Jaccard similarity of word shingles from which two rows are near duplicates.")
    action: DuplicateAction = Field(DuplicateAction.COUNT, description="Drop them, or only count them.")


class Filters(ApiModel):
    """What makes an elicited instruction unfit. Duplicates stay by default: their share is part of the distribution."""

    exact_duplicates: bool = Field(False, description="Drop instructions seen before, letter for letter.")
    near_duplicates: NearDuplicates | None = Field(None, description="Look for near duplicates.")
    languages: list[Annotated[str, StringConstraints(pattern="^[a-z]{2,3}$")]] = Field(
        default_factory=list, max_length=64, description="ISO 639 codes to keep; empty keeps all."
    )
    decontaminate: list[Uri] = Field(default_factory=list, max_length=32, description="Benchmarks whose questions are dropped.")
    length: Length = Field(default_factory=Length, description="Bounds in tokens.")
    max_refused: Fraction = Field(
        0.5, description="Share of refused rows above which the run fails: the model or template is wrong."
    )


class Endpoint(ApiModel):
    """A model behind an OpenAI-compatible endpoint; its address, key and limits belong to the platform."""

    name: Name = Field(description="The endpoint, by the platform's name for it.")
    model: Annotated[str, StringConstraints(min_length=1, max_length=253)] = Field(description="The model's name there.")


class Member(ApiModel):
    """One model of the committee: the run's base model, another model, or an endpoint's."""

    name: Name = Field(description="How the report names this member.")
    base: bool = Field(False, description="This member is the run's base model.")
    model: Model | None = Field(None, description="A model of its own.")
    endpoint: Endpoint | None = Field(None, description="A model behind a named endpoint.")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.base + (self.model is not None) + (self.endpoint is not None) != 1:
            raise ValueError("a member is one of `base: true`, `model` or `endpoint`")
        return self


class Committee(ApiModel):
    """Who answers. The paper: the base model and two strong ones, three answers each (K = 3, L = 3)."""

    responses_per_member: int = Field(3, ge=1, le=16, description="Answers each member gives to each instruction (L).")
    sampling: Sampling = Field(default_factory=lambda: Sampling(temperature=0.7, top_p=0.9), description="How answers are drawn.")
    members: list[Member] = Field(
        default_factory=lambda: [Member(name="base", base=True)],
        min_length=1,
        max_length=6,
        description="The members, in tie-break order.",
    )

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [member.name for member in self.members]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"members are named once each; twice: {', '.join(twice)}")
        if sum(member.base for member in self.members) > 1:
            raise ValueError("only one member may be `base: true`")
        return self


class JudgingMode(StrEnum):
    """How a judge's rating is read: written after a reason, or from the probabilities of the five rating tokens."""

    JUSTIFY = "Justify"
    LOG_PROB = "LogProb"


class SelfJudging(StrEnum):
    """Whether a member's verdicts on its own answers count (the paper's way: they do)."""

    INCLUDE = "Include"
    EXCLUDE = "Exclude"


class Pruning(StrEnum):
    """Whether candidates that can no longer win are spared their remaining verdicts."""

    LOSSLESS = "Lossless"
    NONE = "None"


DEFAULT_RUBRIC = """\
You grade one response to one instruction on a scale of five points.
1: The response is incomplete, vague, off the topic or leaves out what was asked; it may only repeat the instruction, \
push an opinion or advertise something, or speak in a voice that is not an AI assistant's.
2: It touches part of what was asked, but stays general: an approach is hinted at, few details are given.
3: It is of use and covers the basics, yet it reads as if lifted from a blog or a web page rather than written by an AI assistant.
4: It answers the instruction clearly and completely in an AI assistant's voice; there is small room to improve.
5: It is excellent, in an AI assistant's voice: thorough, well organised, knowledgeable, nothing in it beside the point, easy and pleasant to read.
Give a brief reason for your rating. Then write, alone on the last line, "Score: " and the rating."""


class Judging(ApiModel):
    """Who judges and how. Every judge scores every candidate of every instruction."""

    mode: JudgingMode = Field(
        JudgingMode.JUSTIFY, description="Justify: a reason, then `Score: n`. LogProb: expected rating, one token."
    )
    judges: list[Name] = Field(default_factory=list, max_length=6, description="Members that judge; empty means all.")
    rubric: str = Field(DEFAULT_RUBRIC, min_length=1, max_length=8192, description="The five-point rubric the judges read.")
    self_judging: SelfJudging = Field(SelfJudging.INCLUDE, description="Whether members score their own answers.")
    min_judges: int = Field(1, ge=1, le=6, description="Fewest readable verdicts a candidate needs.")
    pruning: Pruning = Field(Pruning.LOSSLESS, description="Lossless spares verdicts that cannot change the selection; judges then take turns.")
    max_tokens: int = Field(512, ge=1, le=8192, description="Longest justification, in tokens (Justify).")


class Reconstructed(ApiModel):
    """Rebuild the alignment data from the base model itself."""

    count: int = Field(100_000, ge=1, le=10_000_000, description="Instructions to accept (N).")
    pre_query: PreQuery = Field(default_factory=PreQuery, description="What precedes the user's words; derived unless set.")
    sampling: Sampling = Field(default_factory=Sampling, description="How instructions are drawn.")
    filters: Filters = Field(default_factory=Filters, description="What makes an instruction unfit.")
    committee: Committee = Field(default_factory=Committee, description="Who answers.")
    judging: Judging = Field(default_factory=Judging, description="Who judges, and how.")

    @model_validator(mode="after")
    def _judges_are_members(self) -> Self:
        names = [member.name for member in self.committee.members]
        if unknown := [judge for judge in self.judging.judges if judge not in names]:
            raise ValueError(f"judging.judges names {', '.join(unknown)}; the committee's members are {', '.join(names)}")
        judges = len(self.judging.judges or names)
        own = self.judging.self_judging is SelfJudging.EXCLUDE
        if self.judging.min_judges > judges - own:
            raise ValueError(
                f"judging.minJudges {self.judging.min_judges} is more than the {judges - own} verdicts a candidate can get"
            )
        return self


class DataFormat(StrEnum):
    """Layout of a JSONL row; Auto tells them apart by the first row's keys."""

    AUTO = "Auto"
    MESSAGES = "Messages"
    PROMPT_RESPONSE = "PromptResponse"
    SHAREGPT = "ShareGPT"
    ALPACA = "Alpaca"


class Domain(ApiModel):
    """A JSONL file of conversations in the store."""

    uri: Uri = Field(description="store://path of a .jsonl file.")
    format: DataFormat = Field(DataFormat.AUTO, description="Layout of a row.")


class Dataset(ApiModel):
    """A ready data set to rehearse, instead of a reconstructed one: a preset, or a JSONL file in the store."""

    preset: Name | None = Field(None, description="A well-known set by name.")
    uri: Uri | None = Field(None, description="store://path of a .jsonl file.")
    format: DataFormat = Field(DataFormat.AUTO, description="Layout of a row.")
    count: int | None = Field(None, ge=1, le=10_000_000, description="Rows to draw, seeded; all when absent.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.preset is None) == (self.uri is None):
            raise ValueError("a dataset has either a `preset` or a `uri`, one of the two")
        return self


class Rehearsal(ApiModel):
    """What is rehearsed: at most one of the two; neither is a control without rehearsal."""

    reconstructed: Reconstructed | None = Field(None, description="Rebuild the alignment data.")
    dataset: Dataset | None = Field(None, description="Use a ready data set.")

    @model_validator(mode="after")
    def _at_most_one(self) -> Self:
        if self.reconstructed and self.dataset:
            raise ValueError("at most one of `reconstructed` and `dataset`")
        return self


class MixtureUnit(StrEnum):
    """What the domain fraction counts."""

    SAMPLES = "Samples"
    TOKENS = "Tokens"


class Mixture(ApiModel):
    """How rehearsal and domain rows are mixed. The paper: 17 % domain rows."""

    domain_fraction: Fraction | None = Field(0.17, description="Share of domain rows; null concatenates both sets whole.")
    unit: MixtureUnit = Field(MixtureUnit.SAMPLES, description="What the fraction counts.")
    total_samples: int | None = Field(
        None, ge=1, le=100_000_000, description="Rows of the mix; by default all rehearsal rows set it."
    )
    repeat_domain: bool = Field(False, description="Repeat domain rows where there are too few; otherwise a shortfall is refused.")


class Offload(StrEnum):
    """Whether the optimizer's state is kept in host memory."""

    AUTO = "Auto"
    OPTIMIZER = "Optimizer"
    NONE = "None"


class Training(ApiModel):
    """Full fine-tune with AdamW under DeepSpeed ZeRO; the defaults are the paper's."""

    nodes: int = Field(1, ge=1, le=64, description="Pods of the training Job.")
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


class EvaluationTask(ApiModel):
    """One lm-evaluation-harness task file in the store, without Python in it."""

    name: Name = Field(description="The task's name in its file.")
    uri: Uri = Field(description="store://path of the task's .yaml; its data files lie beside it.")
    role: Annotated[str, StringConstraints(pattern="^(General|Domain)$")] = Field(
        "General", description="General: what must not be forgotten. Domain: what is to be learned."
    )


class Evaluation(ApiModel):
    """What is measured before and after, by lm-evaluation-harness."""

    suite: Name | None = Field(None, description="A well-known suite by name.")
    tasks: list[EvaluationTask] = Field(
        default_factory=list, max_length=16, description="Task files in the store; none skips evaluation."
    )
    limit: int | None = Field(None, ge=1, le=1_000_000, description="Questions a task, for a quick look.")
    max_forgetting: float | None = Field(None, ge=0, le=100, description="General points that may be lost before the run fails.")


class Categories(ApiModel):
    """A YAML list of {name, pattern, share}: how the report names kinds of instruction, and their true shares if known."""

    uri: Uri = Field(description="store://path of the .yaml file.")


class Scheduling(ApiModel):
    """Where pods may run. Nothing here changes what is computed."""

    node_selector: dict[str, str] = Field(default_factory=dict, max_length=16, description="Labels a node must have.")
    tolerations: list[Toleration] = Field(default_factory=list, max_length=16, description="Taints that are tolerated.")
    topology: str | None = Field(None, max_length=316, description="Topology level that a Job's pods share (Kueue).")
    priority_class_name: str | None = Field(None, max_length=253, description="Priority class of every pod.")


class RunSpec(ApiModel):
    """The spec of a ReconstructionRun."""

    suspend: bool = Field(False, description="Stops everything, loses nothing.")
    retry: Salt = Field("", description="Change it to clear a failure.")
    rerun: Salt = Field("", description="Change it to sample anew.")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Seeds every draw.")
    store: Name = Field("default", description="The artifact store, by the platform's name for it.")
    queue_name: str | None = Field(None, max_length=63, description="Kueue LocalQueue.")
    base_model: Model = Field(description="The aligned model to specialise.")
    rehearsal: Rehearsal = Field(default_factory=Rehearsal, description="What is rehearsed against forgetting.")
    domain: Domain = Field(description="What the model is to learn.")
    mixture: Mixture = Field(default_factory=Mixture, description="How the two sets are mixed.")
    training: Training = Field(default_factory=Training, description="The fine-tune.")
    evaluation: Evaluation = Field(default_factory=Evaluation, description="What is measured before and after.")
    categories: Categories | None = Field(None, description="Kinds of instruction, for the report.")
    scheduling: Scheduling = Field(default_factory=Scheduling, description="Where pods may run.")
    ttl_seconds_after_finished: int = Field(
        86_400, ge=0, le=31_536_000, description="When finished Jobs are removed; never the run."
    )

    @property
    def reconstructed(self) -> Reconstructed | None:
        """The reconstruction this run asks for, if any."""
        return self.rehearsal.reconstructed
