"""The part of a spec that rebuilds the alignment data: what is elicited, who answers, who judges."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from rehearsal.api.model import ApiModel
from rehearsal.api.serving import Fraction, Model, Name, Sampling, StoreUri


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
    decontaminate: list[StoreUri] = Field(
        default_factory=list, max_length=32, description="Benchmarks whose questions are dropped."
    )
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
5: It is excellent, in an AI assistant's voice: thorough, well organised, knowledgeable, nothing in it \
beside the point, easy and pleasant to read.
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
    pruning: Pruning = Field(
        Pruning.LOSSLESS, description="Lossless spares verdicts that cannot change the selection; judges then take turns."
    )
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
