"""From what `select` and `mix` sealed to the report's funnel: what is left after each step, why, and how it bends the set. Pure."""

from collections.abc import Iterable, Mapping, Sequence

from rehearsal.report.categories import Category, kinds_of, shares_of
from rehearsal.report.contents import Fact, Funnel, KindShift, Lengths, Shares, Step
from rehearsal.report.losses import UNANSWERED, UNFIT, Loss

POPULATIONS = (
    ("instructions", "elicited"),
    ("instructions", "accepted"),
    ("instructions", "kept"),
    ("answers", "all"),
    ("answers", "whole"),
    ("answers", "kept"),
)
"""Whose lengths are told: of all there were, of those that are whole, of those that were kept."""


def funnel(select: Mapping[str, Fact], lost: Mapping[str, int], mix: Mapping[str, Fact], warning: str) -> Funnel:
    """Return the steps from elicited to mixed and the lengths; `lost` is what `select` counted by reason."""
    count = {name: int(value) for name, value in select.items() if isinstance(value, int)}
    kept = count["considered"] - sum(lost.values())
    mixed = int(mix["rehearsalRows"])
    steps = [
        Step(name="elicited", rows=count["elicited"]),
        Step(name="accepted", rows=count["accepted"], lost=_refused(count)),
        Step(name="considered", rows=count["considered"], lost=_some({"not-needed": count["accepted"] - count["considered"]})),
        Step(name="answered", rows=count["answered"], lost=_of(lost, UNANSWERED)),
        Step(name="judged", rows=count["judged"], lost=_of(lost, (Loss.NO_VERDICT,))),
        Step(name="kept", rows=kept, lost=_of(lost, UNFIT)),
        Step(name="mixed", rows=mixed, lost=_some({"not-mixed": kept - mixed})),
    ]
    return Funnel(
        rounds=count["rounds"],
        steps=steps,
        answers=count["answers"],
        answers_cut_off=count["answersCutOff"],
        lengths=[_lengths(select, of, which) for of, which in POPULATIONS],
        warning=warning,
    )


def shifts(accepted: Shares, kept: Iterable[str], categories: Sequence[Category]) -> list[KindShift]:
    """Return the share of each category among the accepted instructions and among the kept ones; the last is of no category."""
    after = shares_of(kinds_of(kept, categories), categories)
    named = [
        KindShift(name=before.name, accepted=before.elicited, kept=now.elicited)
        for before, now in zip(accepted.categories, after.categories, strict=True)
    ]
    return [*named, KindShift(name="none of these", accepted=accepted.other, kept=after.other)]


def _refused(count: Mapping[str, int]) -> dict[str, int]:
    return {name.removeprefix("refused."): rows for name, rows in count.items() if name.startswith("refused.")}


def _of(lost: Mapping[str, int], losses: Sequence[Loss]) -> dict[str, int]:
    return _some({str(loss): lost.get(loss, 0) for loss in losses})


def _some(counts: Mapping[str, int]) -> dict[str, int]:
    return {reason: rows for reason, rows in counts.items() if rows}


def _lengths(facts: Mapping[str, Fact], of: str, which: str) -> Lengths:
    mean, median = facts[f"meanLength.{of}.{which}"], facts.get(f"medianLength.{of}.{which}")
    return Lengths(of=of, which=which, mean=float(mean), median=None if median is None else int(median))
