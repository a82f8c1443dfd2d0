"""The statistics of a report: intervals of shares, paired tests of two models, leaderboard points. Pure.

Intervals are 95 % and two-sided. They speak of the questions that were drawn; how much another training run
would differ is not covered.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

from rehearsal.api.messages import CorruptInput

CONFIDENCE = 0.95
Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
RESAMPLES = 2000


class Unpaired(CorruptInput):
    """Two models did not answer the same questions, so nothing can be said question by question."""

    reason = "Unpaired"


@dataclass(frozen=True)
class Interval:
    """A closed range, in the unit of what it belongs to."""

    low: float
    high: float


@dataclass(frozen=True)
class Paired:
    """Two models on the same questions, counted. `lost` is 1->0 (right before, wrong after), `gained` is 0->1."""

    questions: int
    before: int
    after: int
    lost: int
    gained: int

    @property
    def difference(self) -> float:
        """Score after minus score before, as a share."""
        return (self.gained - self.lost) / self.questions


def wilson(count: int, total: int) -> Interval:
    """Return the score interval of a share (Wilson 1927): it stays within 0..1 and has width at 0 and 1. None seen: 0..1."""
    if total == 0:
        return Interval(0.0, 1.0)
    share = count / total
    scale = 1 + Z**2 / total
    centre = (share + Z**2 / (2 * total)) / scale
    half = Z / scale * sqrt(share * (1 - share) / total + Z**2 / (4 * total**2))
    return Interval(0.0 if count == 0 else centre - half, 1.0 if count == total else centre + half)


def mean_of(shares: Sequence[float], intervals: Sequence[Interval]) -> tuple[float, Interval]:
    """Return the unweighted mean of independent shares and its interval, by the squares of their distances to the limits.

    MOVER, Zou and Donner 2008 ("Construction of confidence limits about effect measures"), equation for a sum of estimates.
    """
    mean = sum(shares) / len(shares)
    below = sqrt(sum((share - i.low) ** 2 for share, i in zip(shares, intervals, strict=True))) / len(shares)
    above = sqrt(sum((i.high - share) ** 2 for share, i in zip(shares, intervals, strict=True))) / len(shares)
    return mean, Interval(mean - below, mean + above)


def mcnemar(lost: int, gained: int) -> float:
    """Return the exact two-sided p-value (McNemar 1947): were the models equal, changed answers would fall like a fair coin."""
    changed = lost + gained
    term = tail = 1
    for i in range(min(lost, gained)):
        term = term * (changed - i) // (i + 1)
        tail += term
    return min(1.0, 2 * tail / (1 << changed))


def pair(before: Mapping[str, bool], after: Mapping[str, bool]) -> Paired:
    """Match two models' answers (question id -> right) by id, or raise Unpaired naming ids that only one of them has."""
    if alone := sorted(before.keys() ^ after.keys()):
        named = ", ".join(alone[:3]) + (" …" if len(alone) > 3 else "")
        raise Unpaired(
            f"{len(alone)} questions were answered by only one of the two models: {named}; evaluate both with the same tasks"
        )
    if not before:
        raise Unpaired("neither model answered any question; check the evaluation's tasks and limit")
    return Paired(
        questions=len(before),
        before=sum(before.values()),
        after=sum(after.values()),
        lost=sum(right and not after[key] for key, right in before.items()),
        gained=sum(after[key] and not right for key, right in before.items()),
    )


def difference_interval(tasks: Sequence[Paired], seed: int) -> Interval:
    """Return the percentile bootstrap interval of the mean over tasks of (after - before), as a share.

    Questions are resampled within their task, each with its pair of answers. Only the counts matter, so neither the
    questions' ids nor their order can change the result.
    """
    rng = random.Random(seed)  # noqa: S311 - resampling, nothing secret
    means = sorted(_mean(_resampled(task, rng) for task in tasks) for _ in range(RESAMPLES))
    tail = round((1 - CONFIDENCE) / 2 * RESAMPLES)
    return Interval(means[tail], means[-1 - tail])


def _resampled(task: Paired, rng: random.Random) -> float:
    if task.lost + task.gained == 0:
        return 0.0
    drawn = rng.choices((-1, 1, 0), cum_weights=(task.lost, task.lost + task.gained, task.questions), k=task.questions)
    return sum(drawn) / task.questions


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)
