"""The jury over one instruction: which verdicts count for which candidate, in exact arithmetic.

Scores lie between 1 and 5. They are taken to the nearest thousandth of a point, less than an engine in bfloat16
reproduces, and are whole numbers from there on: equal means are equal, whatever the order of addition.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import lcm
from typing import NamedTuple

from rehearsal.api.reconstruction import Member, Reconstructed, SelfJudging

STEPS_PER_POINT = 1000
"""An exact score is a number of thousandths of a point."""
LOWEST, HIGHEST = 1 * STEPS_PER_POINT, 5 * STEPS_PER_POINT
"""Ends of the rubric's scale."""
MOST_JUDGES = 6
"""A committee has no more members."""
EVENLY = lcm(*range(1, MOST_JUDGES + 1))
"""What any number of judges divides: a mean of exact scores, times this, is a whole number."""

Scores = Sequence[Sequence[float | None]]
"""One judge's scores, [member][sample]; None where it was not asked or abstained."""
Fit = Sequence[Sequence[bool]]
"""Whether a candidate may be chosen at all, [member][sample]: not cut off, not empty, not degenerate."""


class Candidate(NamedTuple):
    """One answer: whose it is, and which of that member's."""

    member: int
    sample: int


@dataclass(frozen=True)
class Jury:
    """Who judges whom. `judges` holds the member index of each judge in judging order; `base` is the base model's."""

    judges: tuple[int, ...]
    base: int | None
    self_judging: SelfJudging
    min_judges: int

    @classmethod
    def of(cls, made: Reconstructed, judges: Sequence[Member]) -> "Jury":
        """Return the jury of a run whose judges are those members, in that order."""
        members = made.committee.members
        return cls(
            judges=tuple(members.index(judge) for judge in judges),
            base=next((i for i, member in enumerate(members) if member.base), None),
            self_judging=made.judging.self_judging,
            min_judges=made.judging.min_judges,
        )

    def counts(self, judge: int, candidate: Candidate) -> bool:
        """Whether this judge's verdict on the candidate counts: on its own answers only if the run includes them."""
        return self.self_judging is SelfJudging.INCLUDE or self.judges[judge] != candidate.member

    def scores(self, candidate: Candidate, verdicts: Sequence[Scores]) -> list[int]:
        """Return the exact scores that count for a candidate, one for each judge that gave one."""
        given = (by_judge[candidate.member][candidate.sample] for j, by_judge in enumerate(verdicts) if self.counts(j, candidate))
        return [exact(score) for score in given if score is not None]

    def remaining(self, candidate: Candidate, judge: int) -> int:
        """Return how many verdicts that count are still to come for a candidate when this judge's turn begins."""
        return sum(self.counts(j, candidate) for j in range(judge, len(self.judges)))

    def rank(self, candidate: Candidate) -> tuple[bool, int, int]:
        """Return what decides between equal scores, the greatest first: base model, member order, sample index."""
        return candidate.member == self.base, -candidate.member, -candidate.sample


def exact(score: float) -> int:
    """Return a score in thousandths of a point, to the nearest."""
    return round(score * STEPS_PER_POINT)


def candidates(fit: Fit) -> Iterator[Candidate]:
    """Yield the candidates that may be chosen, in member order."""
    for member, samples in enumerate(fit):
        for sample, is_fit in enumerate(samples):
            if is_fit:
                yield Candidate(member, sample)
