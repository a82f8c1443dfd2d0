"""From the accepted instructions and the chosen answers to what the report says of elicitation and judging."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from rehearsal.report.categories import Category, classify, share_of, shares_of
from rehearsal.report.contents import Elicitation, Example, Fact, Judging

EXAMPLES = 8
"""How many instructions and answers a report quotes: the first of the sealed order."""
EXCERPT = 300
"""Characters of a quoted text."""
CLEAR = ("mean", "only")
"""Rules that say a selection was no tie: a higher mean score, or the only candidate there was."""
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, marks that turn the direction of writing, halves of surrogate pairs."""


def elicitation(instructions: Iterable[str], refused: Mapping[str, int], categories: Sequence[Category]) -> Elicitation:
    """Read the accepted instructions once: count them, the different ones, and their kinds where categories are given."""
    kinds: Counter[str | None] = Counter()
    seen: set[bytes] = set()
    unmatched: list[str] = []
    for text, kind in classify(instructions, categories):
        seen.add(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest())
        kinds[kind] += 1
        if categories and kind is None and len(unmatched) < EXAMPLES:
            unmatched.append(excerpt(text))
    return Elicitation(
        rows=kinds.total(),
        distinct=len(seen),
        refused=dict(refused),
        shares=shares_of(kinds, categories) if categories else None,
        unmatched=unmatched,
    )


def judging(rows: Iterable[Mapping[str, object]], facts: Mapping[str, Fact], members: Sequence[str]) -> Judging:
    """Count whose answers were chosen and by which rule; agreement and bias are the facts that `select` sealed.

    Rows are {instruction, answer, member, mean, decided}, the last null where pruning hides it; facts are `alpha`,
    `bias.<judge>`, `selfPreference.<judge>`.
    """
    wins: Counter[str] = Counter()
    decided: Counter[str] = Counter()
    examples: list[Example] = []
    for row in rows:
        wins[str(row["member"])] += 1
        if row["decided"] is not None:
            decided[str(row["decided"])] += 1
        if len(examples) < EXAMPLES:
            examples.append(_example(row))
    total = wins.total()
    return Judging(
        rows=total,
        wins={name: share_of(wins[name], total) for name in members},
        decided=dict(sorted(decided.items())),
        ties=share_of(decided.total() - sum(decided[rule] for rule in CLEAR), decided.total()),
        alpha=_number(facts.get("alpha")),
        bias=_by_judge(facts, "bias."),
        self_preference=_by_judge(facts, "selfPreference."),
        examples=examples,
    )


def excerpt(text: str) -> str:
    """Return the beginning of a model's text, without what could not be stored or would disturb a page."""
    shown = CONTROL.sub("\N{REPLACEMENT CHARACTER}", text[:EXCERPT])
    return shown + "…" if len(text) > EXCERPT else shown


def _example(row: Mapping[str, object]) -> Example:
    return Example(
        instruction=excerpt(str(row["instruction"])),
        answer=excerpt(str(row["answer"])),
        member=str(row["member"]),
        mean=_number(row.get("mean")),
    )


def _by_judge(facts: Mapping[str, Fact], prefix: str) -> dict[str, float]:
    return {key.removeprefix(prefix): float(value) for key, value in facts.items() if key.startswith(prefix)}


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
