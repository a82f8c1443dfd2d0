"""The part of a spec that rebuilds the alignment data: what is elicited, who answers, who judges."""

from typing import Annotated

from pydantic import Field

from rehearsal.api.model import Choice, SpecModel
from rehearsal.api.names import Language, ModelName, Name, StoreUri
from rehearsal.api.rules import Rule, Unique
from rehearsal.api.serving import AnswerSampling, Fraction, Model, Sampling


class PreQuery(SpecModel):
    """What precedes the user's words in the chat template; derived from the tokenizer unless it is written here."""

    text: str | None = Field(None, max_length=4096, description="Set only where the template cannot be derived.")


class Length(SpecModel):
    """Bounds on an instruction's length, in tokens of the base model."""

    rules = (
        Rule("length.min must be at most length.max", cel="self.min <= self.max", holds=lambda length: length.min <= length.max),
    )

    min: int = Field(1, ge=1, le=131_072, description="Fewest tokens.")
    max: int = Field(2048, ge=1, le=131_072, description="Most tokens.")


class DuplicateAction(Choice):
    """What happens to a near duplicate."""

    DROP = "Drop"
    COUNT = "Count"


class NearDuplicates(SpecModel):
    """MinHash near duplicates."""

    threshold: Fraction = Field(0.8, description="Jaccard similarity of word shingles from which two rows are near duplicates.")
    action: DuplicateAction = Field(DuplicateAction.COUNT, description="Drop them, or only count them.")


class Filters(SpecModel):
    """What makes an elicited instruction unfit. Duplicates stay by default: their share is part of the distribution."""

    exact_duplicates: bool = Field(False, description="Drop instructions seen before, letter for letter.")
    near_duplicates: NearDuplicates | None = Field(None, description="Look for near duplicates.")
    languages: Annotated[list[Language], Unique()] = Field(
        default_factory=list, max_length=64, description="ISO 639 codes to keep; empty keeps all."
    )
    decontaminate: Annotated[list[StoreUri], Unique()] = Field(
        default_factory=list, max_length=32, description="Benchmarks whose questions are dropped."
    )
    length: Length = Field(default_factory=Length, description="Bounds on an instruction's length.")
    max_refused: Fraction = Field(
        0.5,
        description="Share of refused rows above which the run fails: of a round's instructions, for the model or template is wrong; "
        "and of accepted instructions that became no conversation, for what is left would be bent.",
    )


class Endpoint(SpecModel):
    """A model behind an OpenAI-compatible endpoint; its address, key and limits belong to the platform."""

    name: Name = Field(description="The endpoint, by the platform's name for it.")
    model: ModelName = Field(description="The model's name there.")


class Member(SpecModel):
    """One model of the committee: the run's base model, another model, or an endpoint's."""

    rules = (
        Rule(
            "a member must be exactly one of `base: true`, `model` and `endpoint`",
            cel="[self.base, has(self.model), has(self.endpoint)].exists_one(kind, kind)",
            holds=lambda member: member.base + (member.model is not None) + (member.endpoint is not None) == 1,
        ),
    )

    name: Name = Field(description="How the report names this member.")
    base: bool = Field(False, description="This member is the run's base model.")
    model: Model | None = Field(None, description="A model of its own.")
    endpoint: Endpoint | None = Field(None, description="A model behind an OpenAI-compatible endpoint.")


class Committee(SpecModel):
    """Who answers. The paper: the base model and two strong ones, three answers each (K = 3, L = 3)."""

    rules = (
        Rule(
            "at most one member of a committee may be `base: true`",
            cel="self.members.filter(member, member.base).size() <= 1",
            holds=lambda committee: sum(member.base for member in committee.members) <= 1,
        ),
    )

    responses_per_member: int = Field(3, ge=1, le=16, description="Answers each member gives to each instruction (L).")
    sampling: AnswerSampling = Field(default_factory=AnswerSampling, description="How answers are drawn.")
    members: Annotated[list[Member], Unique("name")] = Field(
        default_factory=lambda: [Member(name="base", base=True)],
        min_length=1,
        max_length=6,
        description="The members, in tie-break order.",
    )


class JudgingMode(Choice):
    """How a judge's rating is read: written after a reason, or from the probabilities of the five rating tokens."""

    JUSTIFY = "Justify"
    LOG_PROB = "LogProb"


class SelfJudging(Choice):
    """Whether a member's verdicts on its own answers count (the paper's way: they do)."""

    INCLUDE = "Include"
    EXCLUDE = "Exclude"


class Pruning(Choice):
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


class Judging(SpecModel):
    """Who judges and how. Every judge scores every candidate of every instruction."""

    mode: JudgingMode = Field(
        JudgingMode.JUSTIFY, description="Justify: a reason, then `Score: n`. LogProb: expected rating, one token."
    )
    judges: Annotated[list[Name], Unique()] = Field(
        default_factory=list, max_length=6, description="Members that judge; empty means all."
    )
    rubric: str = Field(DEFAULT_RUBRIC, min_length=1, max_length=8192, description="The five-point rubric the judges read.")
    self_judging: SelfJudging = Field(SelfJudging.INCLUDE, description="Whether members score their own answers.")
    min_judges: int = Field(1, ge=1, le=6, description="Fewest readable verdicts a candidate needs.")
    pruning: Pruning = Field(
        Pruning.LOSSLESS, description="Lossless spares verdicts that cannot change the selection; judges then take turns."
    )
    max_tokens: int = Field(512, ge=1, le=8192, description="Longest justification, in tokens (Justify).")


class Reconstructed(SpecModel):
    """Rebuild the alignment data from the base model itself."""

    rules = (
        Rule(
            "sampling.maxTokens must be more than filters.length.min: an instruction and the token that ends it",
            cel="self.sampling.maxTokens > self.filters.length.min",
            holds=lambda made: made.sampling.max_tokens > made.filters.length.min,
        ),
        Rule(
            "judging.judges must name members of the committee",
            cel="self.judging.judges.all(judge, self.committee.members.exists(member, member.name == judge))",
            holds=lambda made: {*made.judging.judges} <= {member.name for member in made.committee.members},
        ),
        Rule(
            "judging.minJudges must be at most the verdicts a candidate can get: one a judge, without its own where selfJudging is Exclude",
            cel="self.judging.minJudges + (self.judging.selfJudging == 'Exclude' ? 1 : 0)"
            " <= (self.judging.judges.size() > 0 ? self.judging.judges.size() : self.committee.members.size())",
            holds=lambda made: (
                made.judging.min_judges + (made.judging.self_judging is SelfJudging.EXCLUDE)
                <= len(made.judging.judges or made.committee.members)
            ),
        ),
    )

    count: int = Field(
        100_000,
        ge=1,
        le=10_000_000,
        description="Conversations to select (N): instructions with a whole answer that can be trained on.",
    )
    pre_query: PreQuery = Field(default_factory=PreQuery, description="What precedes the user's words in the chat template.")
    sampling: Sampling = Field(default_factory=Sampling, description="How instructions are drawn.")
    filters: Filters = Field(default_factory=Filters, description="What makes an elicited instruction unfit.")
    committee: Committee = Field(default_factory=Committee, description="Who answers.")
    judging: Judging = Field(default_factory=Judging, description="Who judges and how.")
