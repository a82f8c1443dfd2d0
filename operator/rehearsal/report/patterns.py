"""The program that looks for users' regular expressions. It runs in the bounded child."""

import re
from collections.abc import Callable, Sequence


def prepare(patterns: Sequence[str]) -> Callable[[Sequence[str]], object]:
    """Compile the patterns, and return what answers texts with the index of the first pattern found in each, or null.

    Where a pattern cannot be compiled, every answer is {"bad": its index, "why": …}.
    """
    compiled: list[re.Pattern[str]] = []
    for index, pattern in enumerate(patterns):
        try:
            compiled.append(re.compile(pattern))
        except (re.error, RecursionError, OverflowError, ValueError) as error:
            refusal = {"bad": index, "why": str(error)}
            return lambda _: refusal
    return lambda texts: [next((i for i, pattern in enumerate(compiled) if pattern.search(text)), None) for text in texts]
