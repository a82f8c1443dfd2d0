"""The best answer to one instruction: the highest mean over the judges that gave a verdict, and a stated way out of ties."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from rehearsal.judging.jury import EVENLY, STEPS_PER_POINT, Candidate, Fit, Jury, Scores, candidates

Key = tuple[int, int, bool, int, int]
"""What candidates are compared by, greatest first: mean times `EVENLY`, minimum, then `Jury.rank`. No two candidates share one."""


class Rule(StrEnum):
    """What set the winner apart from the runner-up. Means tie often: three integers, most of them 4 or 5."""

    ONLY = "only"
    MEAN = "mean"
    MINIMUM = "minimum"
    BASE = "base"
    MEMBER = "member"
    SAMPLE = "sample"


_RULES = (Rule.MEAN, Rule.MINIMUM, Rule.BASE, Rule.MEMBER, Rule.SAMPLE)


@dataclass(frozen=True)
class Selected:
    """The chosen answer and its scores, if anybody judged. `decided_by` is only true to the full verdicts if nothing was pruned."""

    member: int
    sample: int
    mean: float | None
    minimum: float | None
    verdicts: int
    decided_by: Rule


def key(jury: Jury, candidate: Candidate, scores: Sequence[int]) -> Key:
    """Return what the candidate is compared by; it has at least one exact score."""
    return (sum(scores) * EVENLY // len(scores), min(scores), *jury.rank(candidate))


def select(jury: Jury, verdicts: Sequence[Scores], fit: Fit) -> Selected | None:
    """Return the winner among the fit candidates that have at least `jury.min_judges` scores, or None without any.

    `verdicts` holds every judge's scores in judging order. A missing score is left out of the mean. Without judges the one
    candidate there is wins.
    """
    if not jury.judges:
        only = next(candidates(fit), None)
        return only and Selected(only.member, only.sample, None, None, 0, Rule.ONLY)
    scored = {c: scores for c in candidates(fit) if len(scores := jury.scores(c, verdicts)) >= jury.min_judges}
    ranked = sorted(scored, key=lambda c: key(jury, c, scored[c]), reverse=True)
    if not ranked:
        return None
    best = ranked[0]
    mean, minimum, *_ = won = key(jury, best, scored[best])
    decided_by = Rule.ONLY
    if len(ranked) > 1:
        runner_up = key(jury, ranked[1], scored[ranked[1]])
        decided_by = next(rule for rule, a, b in zip(_RULES, won, runner_up, strict=True) if a != b)
    points = mean / (EVENLY * STEPS_PER_POINT), minimum / STEPS_PER_POINT
    return Selected(best.member, best.sample, *points, len(scored[best]), decided_by)
