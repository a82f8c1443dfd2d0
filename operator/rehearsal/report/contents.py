"""What a report says, as data: report.json is this, and the page shows nothing else.

Nothing in it names the run, the clock or what was consumed, so two runs whose stages are equal share one report, byte for byte.
Shares and scores are 0..1; gaps and forgetting are in points (0..100).
"""

import json

from pydantic import Field

from rehearsal.api.model import ApiModel
from rehearsal.report.statistics import Interval

Fact = str | int | float


class StageFigures(ApiModel):
    """One sealed stage."""

    name: str
    fingerprint: str
    rows: int
    refused: dict[str, int] = Field(default_factory=dict)


class Share(ApiModel):
    """A count among a total, as a share with its interval."""

    count: int
    share: float
    interval: Interval


class CategoryShare(ApiModel):
    """How often a kind of instruction was elicited, and how often it should have been, where that is known."""

    name: str
    elicited: Share
    true_share: float | None = None


class Shares(ApiModel):
    """The shares of all categories; `other` matched none of them: malformed, or of a kind nobody named."""

    categories: list[CategoryShare]
    other: Share
    biggest_gap: float | None = Field(None, description="Largest distance between elicited and true share, in points.")


class Elicitation(ApiModel):
    """The reconstructed instructions: how many, what was refused and why, and their kinds if categories are named."""

    rows: int
    distinct: int
    refused: dict[str, int] = Field(default_factory=dict)
    shares: Shares | None = None
    unmatched: list[str] = Field(default_factory=list, description="The first few instructions of no category, cut short.")


class Step(ApiModel):
    """Instructions that are left after a step on the way to the mix, and by reason those that it lost."""

    name: str = Field(description="elicited, accepted, considered, answered, judged, kept or mixed.")
    rows: int
    lost: dict[str, int] = Field(default_factory=dict)


class Lengths(ApiModel):
    """How long texts are, in characters. A text that was cut off counts as long as it came to be."""

    of: str = Field(description="instructions or answers.")
    which: str = Field(description="elicited, accepted or all, whole, kept.")
    mean: float
    median: int | None = None


class KindShift(ApiModel):
    """How often a kind of instruction is among the accepted ones, and among those whose conversation was kept."""

    name: str
    accepted: Share
    kept: Share


class Funnel(ApiModel):
    """What became of the instructions, and how far what was lost bends lengths and kinds."""

    rounds: int = Field(description="Rounds of elicitation that it took.")
    steps: list[Step]
    answers: int
    answers_cut_off: int = Field(description="Of them, cut off at the most tokens they may have.")
    lengths: list[Lengths]
    kinds: list[KindShift] = Field(default_factory=list, description="Where the run names categories.")
    warning: str = Field("", description="What was lost and which fields would lose less, where it is more than a twentieth.")


class Example(ApiModel):
    """A chosen answer, cut short. Written by a model: to be escaped wherever it is shown."""

    instruction: str
    answer: str
    member: str
    mean: float | None = None


class Judging(ApiModel):
    """The committee at work: whose answers won, by which rule, and what the judges' agreement was."""

    rows: int
    wins: dict[str, Share] = Field(description="Member -> share of instructions whose chosen answer is its own.")
    decided: dict[str, int] = Field(description="Rule that decided -> instructions; all but `mean` and `only` are ties.")
    ties: Share
    alpha: float | None = Field(None, description="Krippendorff's alpha of the judges.")
    bias: dict[str, float] = Field(default_factory=dict, description="Judge -> its mean score less that of all judges.")
    self_preference: dict[str, float] = Field(default_factory=dict, description="Judge -> how much it favours its own answers.")
    examples: list[Example] = Field(default_factory=list)


class Score(ApiModel):
    """A score, 0..1, with its interval."""

    value: float
    interval: Interval


class Comparison(ApiModel):
    """Base and tuned model on the same questions: of one task, or the mean over the tasks of a role."""

    name: str
    role: str
    metric: str
    questions: int
    base: Score
    tuned: Score
    lost: int = Field(description="1->0: right before, wrong after.")
    gained: int = Field(description="0->1: wrong before, right after.")
    p_value: float = Field(description="Exact two-sided McNemar test of lost against gained.")
    forgetting: float = Field(description="Base less tuned, in points.")
    forgetting_interval: Interval = Field(description="Paired bootstrap, in points.")


class Evaluation(ApiModel):
    """What was measured before and after. `baseline` is the fingerprint of the base model's evaluation."""

    baseline: str
    tasks: list[Comparison]
    roles: list[Comparison] = Field(description="Mean over the tasks of a role, every task weighing the same.")

    def role(self, name: str) -> Comparison | None:
        """Return the mean over that role's tasks, if it has any."""
        return next((row for row in self.roles if row.name == name), None)


class ReportData(ApiModel):
    """Everything a report says about one run. What the run did not do is absent."""

    stages: list[StageFigures]
    elicitation: Elicitation | None = None
    judging: Judging | None = None
    funnel: Funnel | None = None
    mixture: dict[str, Fact] = Field(default_factory=dict, description="The facts that `mix` sealed.")
    training: dict[str, Fact] = Field(default_factory=dict, description="The facts that `train` sealed.")
    evaluation: Evaluation | None = None

    def encode(self) -> bytes:
        """Return report.json: the same data gives the same bytes."""
        return json.dumps(self.wire(), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"

    def headlines(self) -> dict[str, Fact]:
        """Return the few figures that the run's status shows; absent sections leave theirs out."""
        found: dict[str, Fact] = {}
        for role in ("General", "Domain"):
            if self.evaluation and (row := self.evaluation.role(role)):
                found[f"{role.lower()}.base"] = round(row.base.value, 4)
                found[f"{role.lower()}.tuned"] = round(row.tuned.value, 4)
        if self.evaluation and (general := self.evaluation.role("General")):
            found["forgetting"] = round(general.forgetting, 2)
        if self.elicitation and self.elicitation.shares and self.elicitation.shares.biggest_gap is not None:
            found["sharesGap"] = round(self.elicitation.shares.biggest_gap, 2)
        return found
