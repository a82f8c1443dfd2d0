"""How far the judges agree, lean and favour themselves.

Fed with instructions that were judged in full: where candidates were pruned the remaining scores are the winners', and
every figure here would be bent.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import fsum
from statistics import fmean

from rehearsal.judging.jury import Fit, Scores, candidates


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


def krippendorff_alpha(judged: Sequence[Unit]) -> float | None:
    """Return Krippendorff's alpha with the interval metric, (a - b)^2, missing scores left out.

    1 is full agreement, 0 what chance would give. None where it is not defined: no unit has two scores, or
    every score is the same. Source: K. Krippendorff, "Computing Krippendorff's Alpha-Reliability", 2011, D and E.
    """
    paired = [given for unit in judged if len(given := _given(unit)) > 1]
    everything = [score for given in paired for score in given]
    if len(set(everything)) < 2:
        return None
    expected = _spread(everything)
    observed = fsum(_spread(given) / (len(given) - 1) for given in paired)
    return 1 - (len(everything) - 1) * observed / expected


def leanings(judged: Sequence[Unit], judges: Sequence[int]) -> tuple[Leaning, ...]:
    """Return each judge's leaning; `judges` holds their member indices, in the order of the scores."""
    return tuple(_leaning(judged, judge, member) for judge, member in enumerate(judges))


def _given(unit: Unit) -> list[float]:
    return [score for score in unit.scores if score is not None]


def _spread(scores: Sequence[float]) -> float:
    """Sum of squared differences over all ordered pairs: 2 n times the squared deviations from the mean."""
    mean = fmean(scores)
    return 2 * len(scores) * fsum((score - mean) ** 2 for score in scores)


def _leaning(judged: Sequence[Unit], judge: int, member: int) -> Leaning:
    own: list[float] = []
    foreign: list[float] = []
    scores = [score for unit in judged if (score := unit.scores[judge]) is not None]
    for unit in judged:
        others = [s for j, s in enumerate(unit.scores) if j != judge and s is not None]
        if (score := unit.scores[judge]) is not None and others:
            (own if unit.member == member else foreign).append(score - fmean(others))
    return Leaning(
        verdicts=len(scores),
        abstained=len(judged) - len(scores),
        mean=fmean(scores) if scores else None,
        bias=fmean(own + foreign) if own or foreign else None,
        self_preference=fmean(own) - fmean(foreign) if own and foreign else None,
    )
