"""How far the judges agree, lean and favour themselves.

Fed with instructions that were judged in full: where candidates were pruned the remaining scores are the winners', and
every figure here would be bent.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rehearsal.judging.jury import EVENLY, STEPS_PER_POINT, Fit, Scores, candidates, exact


@dataclass(frozen=True)
class Unit:
    """One candidate that every judge was asked about: whose answer it is, and each judge's score or None."""

    member: int
    scores: tuple[float | None, ...]


@dataclass(frozen=True)
class Leaning:
    """One judge against the others on the same candidates, in points of the scale.

    `bias` is its mean difference to the mean of the others. `self_preference` is that difference on its own answers
    less that on the others' answers: what it sees in itself that they do not. None where nothing can be compared.
    """

    verdicts: int
    abstained: int
    mean: float | None
    bias: float | None
    self_preference: float | None


def units(fit: Fit, verdicts: Sequence[Scores]) -> Iterator[Unit]:
    """Yield a unit for each fit candidate of one instruction."""
    for member, sample in candidates(fit):
        yield Unit(member, tuple(by_judge[member][sample] for by_judge in verdicts))


class Agreement:
    """What the judges' scores say of one another, over units that are added one by one and not kept.

    Sums are of exact scores, so the order in which units are added makes no difference. `judges` holds the judges' member indices,
    in the order of the scores.
    """

    def __init__(self, judges: Sequence[int]) -> None:
        self.units = 0
        self._pairable = _Sums()
        self._observed = 0  # times EVENLY
        self._judges = [_Judge(member) for member in judges]

    def add(self, unit: Unit) -> None:
        """Take one candidate's scores."""
        given = {judge: exact(score) for judge, score in enumerate(unit.scores) if score is not None}
        self.units += 1
        if len(given) > 1:
            own = _Sums()
            for score in given.values():
                own.add(score)
                self._pairable.add(score)
            self._observed += own.spread * EVENLY // (len(given) - 1)
        for judge, score in given.items():
            self._judges[judge].add(score, sum(given.values()) - score, len(given) - 1, unit.member)

    def alpha(self) -> float | None:
        """Return Krippendorff's alpha with the interval metric, (a - b)^2, missing scores left out.

        1 is full agreement, 0 what chance would give. None where it is not defined: no unit has two scores, or
        every score is the same. Source: K. Krippendorff, "Computing Krippendorff's Alpha-Reliability", 2011, D and E.
        """
        expected = self._pairable.spread
        return 1 - (self._pairable.count - 1) * self._observed / (EVENLY * expected) if expected else None

    def leanings(self) -> tuple[Leaning, ...]:
        """Return each judge's leaning."""
        return tuple(judge.leaning(self.units) for judge in self._judges)


@dataclass
class _Sums:
    count: int = 0
    total: int = 0
    squares: int = 0

    def add(self, score: int) -> None:
        self.count += 1
        self.total += score
        self.squares += score * score

    @property
    def spread(self) -> int:
        """Sum of squared differences over all ordered pairs: 2 n times the squared deviations from the mean."""
        return 2 * (self.count * self.squares - self.total * self.total)


@dataclass
class _Judge:
    """Sums of one judge's scores, and of their differences to the mean of the others', times EVENLY: on its own answers and on others'."""

    member: int
    scores: _Sums = field(default_factory=_Sums)
    own: _Sums = field(default_factory=_Sums)
    foreign: _Sums = field(default_factory=_Sums)

    def add(self, score: int, others: int, company: int, member: int) -> None:
        self.scores.add(score)
        if company:
            (self.own if member == self.member else self.foreign).add((score * company - others) * EVENLY // company)

    def leaning(self, units: int) -> Leaning:
        own, foreign = _mean(self.own, EVENLY), _mean(self.foreign, EVENLY)
        both = _Sums(self.own.count + self.foreign.count, self.own.total + self.foreign.total)
        return Leaning(
            verdicts=self.scores.count,
            abstained=units - self.scores.count,
            mean=_mean(self.scores),
            bias=_mean(both, EVENLY),
            self_preference=None if own is None or foreign is None else own - foreign,
        )


def _mean(sums: _Sums, times: int = 1) -> float | None:
    """Return the mean in points of the scale, or None of nothing."""
    return sums.total / (sums.count * times * STEPS_PER_POINT) if sums.count else None
