"""Lossless pruning: which candidates a judge need not score because they can no longer win.

The winner, its mean, minimum and number of verdicts are the same as with every verdict; what the losers would have got
is not known, so agreement between judges, and ties, are measured on an audit sample that is always judged in full.
"""

import hashlib
from collections.abc import Sequence

from rehearsal.judging.jury import HIGHEST, LOWEST, Candidate, Fit, Jury, Scores, candidates
from rehearsal.judging.selection import Key, key

AUDIT_SHARE = 0.02
"""Share of a run's instructions that are judged in full."""
AUDIT_LEAST = 100
"""Instructions that are judged in full at least, about: what Krippendorff's alpha needs to mean something in a small run."""


def audited(instruction: str, seed: int, count: int) -> bool:
    """Whether the instruction of that id, one of `count`, is judged in full: a seeded draw by the SHA-256 of its id."""
    share = max(AUDIT_SHARE, AUDIT_LEAST / count)
    drawn = hashlib.sha256(f"audit/{seed}/{instruction}".encode()).digest()
    return int.from_bytes(drawn[:8]) < share * 2**64


def outstanding(jury: Jury, judge: int, earlier: Sequence[Scores], fit: Fit) -> list[Candidate]:
    """Return the candidates that this judge (by its place in `jury.judges`) must score, given the earlier judges' scores.

    A candidate is left out when its best possible outcome is below the worst possible one of a candidate that is sure
    to qualify. With sum S of n scores and r judges to come, each of which may score 1 to 5 or abstain, the mean lies
    between (S+r)/(n+r) and (S+5r)/(n+r): an abstention leaves it nearer to S/n, which is between the two. Outcomes are
    compared with all tie-breaks, so an equal mean is enough where the tie is decided already.

    A score that an earlier judge was spared reads as an abstention. That is one of the outcomes which were foreseen
    when the candidate was left out, so it stays out, and never is the bound that others must reach.
    """
    known = {candidate: jury.scores(candidate, earlier) for candidate in candidates(fit)}
    sure = [_worst(jury, c, scores, jury.remaining(c, judge)) for c, scores in known.items() if len(scores) >= jury.min_judges]
    bound = max(sure, default=None)
    return [
        candidate
        for candidate, scores in known.items()
        if jury.counts(judge, candidate) and _may_win(jury, candidate, scores, jury.remaining(candidate, judge), bound)
    ]


def _may_win(jury: Jury, candidate: Candidate, scores: list[int], remaining: int, bound: Key | None) -> bool:
    if len(scores) + remaining < jury.min_judges:
        return False
    return bound is None or key(jury, candidate, [*scores, *[HIGHEST] * remaining]) >= bound


def _worst(jury: Jury, candidate: Candidate, scores: list[int], remaining: int) -> Key:
    return key(jury, candidate, [*scores, *[LOWEST] * remaining])
