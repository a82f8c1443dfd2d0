"""Reading a judge's rating, written out or from probabilities. What cannot be read is an abstention, never a score.

Not covered: a judge that is talked into a wrong rating. Its own last line is believed whatever led it there.
"""

import math
import re
from collections.abc import Mapping

RATINGS = (1, 2, 3, 4, 5)
"""The rubric's scale."""
LEAST_MASS = 0.01
"""Probability that the five ratings must have together; below it the model was about to write something else."""
_ROUNDING = 1e-3

_VERDICT = re.compile(r"(?:\*\*)?Score:(?:\*\*)?[ \t]*(?:\*\*)?([1-5])(?:/5)?(?:\*\*)?\.?(?:\*\*)?")


def parse_verdict(text: str, finish: str) -> int | None:
    """Return the rating on the last line of a judge's answer, or None where there is none to read.

    `finish` is the engine's reason to stop: an answer that was cut off (`length`) has no last line of its own, for
    `Score: 4` may have been about to become `Score: 4.5`. Lines end with a line feed alone. The last one that is not
    blank must be, between spaces, nothing but

        Score: n     n one ASCII digit from 1 to 5; any number of blanks before it, or none

    with these liberties: `**` around any part of it, `/5` after the digit, a full stop at the end.
    """
    lines = [line for line in text.split("\n") if line.strip(" \t\r")]
    if finish != "stop" or not lines:
        return None
    match = _VERDICT.fullmatch(lines[-1].strip(" \t\r"))
    return int(match[1]) if match else None


def expected_rating(logprobs: Mapping[int, float | None]) -> float | None:
    """Return the mean rating under the renormalised probabilities of the five rating tokens, between 1 and 5.

    `logprobs` maps a rating to the natural logarithm of its token's probability. None (an abstention) where a rating is
    missing, null, NaN or no log-probability at all (above 0), or where the five together are less likely than `LEAST_MASS`.
    """
    known = {rating: logprobs.get(rating) for rating in RATINGS}
    mass = {rating: math.exp(value) for rating, value in known.items() if value is not None and value <= _ROUNDING}
    total = math.fsum(mass.values())
    if len(mass) < len(RATINGS) or total < LEAST_MASS:
        return None
    return math.fsum(rating * share for rating, share in mass.items()) / total
