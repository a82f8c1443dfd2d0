"""Which rows of a set fit: a draw of as many as are wanted, and a refusal with the arithmetic where there are too few.

A row costs the draw ten bytes of memory, whatever it says. What makes a row fit is the caller's to tell.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from typing import TypeVar

from rehearsal.api.messages import Refused
from rehearsal.data.draw import shuffled

Row = TypeVar("Row")
SLACK = 1.2
"""A pass asks for so much more than the share of fitting rows so far calls for, so that it is likely to be the last."""
LEAST = 100
"""Rows that a further pass asks for at least."""
_UNSEEN, _ASKED = 0, 1


class Verdict(IntEnum):
    """Whether a row can be trained on: as a whole, by this model's chat template, within `training.sequenceLength`."""

    FIT = 2
    TOO_LONG = 3
    NOT_ENCODABLE = 4

    @property
    def reason(self) -> str:
        """The verdict as seals count it."""
        return self.name.lower().replace("_", "-")


class Draw:
    """A draw of `wanted` rows that fit, of a set of `total`, in seeded order; rows that do not fit are skipped and counted.

    A set is read in its own order, so the draw takes passes over it, each for the rows next in the seeded order that are
    likely to be enough. What is drawn and counted does not depend on the number of passes.
    """

    def __init__(self, total: int, wanted: int, *seed: str | int) -> None:
        self._total, self._wanted = total, wanted
        self._order = shuffled(total, *seed)
        self._states = bytearray(total)
        self._asked = self._fit = 0

    def take(self, read: Callable[[], Iterable[Row]], look: Callable[[int, Row], Verdict]) -> None:
        """Read the set, and look at its rows by index, until enough fit or none is left."""
        while self._ask():
            for index, row in enumerate(read()):
                if self._states[index] == _ASKED:
                    verdict = look(index, row)
                    self._states[index] = verdict
                    self._fit += verdict is Verdict.FIT

    @property
    def seen(self) -> Counter[Verdict]:
        """Verdicts of the rows up to the last one drawn. Rows that a pass looked at beyond it do not count."""
        states = Counter(self._states[index] for index in self._up_to_the_last())
        return Counter({Verdict(state): rows for state, rows in states.items()})

    def rows(self) -> Iterator[int]:
        """Yield the rows drawn, in the set's own order."""
        chosen = bytearray(self._total)
        for index in self._up_to_the_last():
            chosen[index] = self._states[index] == Verdict.FIT
        return (index for index, is_chosen in enumerate(chosen) if is_chosen)

    def _ask(self) -> bool:
        missing = self._wanted - self._fit
        if missing <= 0 or self._asked == self._total:
            return False
        begin, wanted = self._asked, missing
        if begin:
            wanted = int(SLACK * missing * (begin + 1) / (self._fit + 1)) + LEAST
        self._asked = min(self._total, begin + wanted)
        for index in self._order[begin : self._asked]:
            self._states[index] = _ASKED
        return True

    def _up_to_the_last(self) -> Iterator[int]:
        fit = 0
        for index in self._order[: self._asked]:
            if fit == self._wanted:
                return
            fit += self._states[index] == Verdict.FIT
            yield index


def refuse_shortage(field: str, wanted: int, name: str, rows: int, seen: Counter[Verdict] | None = None, longest: int = 0) -> None:
    """Raise TooFewRows with the arithmetic if fewer rows fit than the field wants.

    `name` is what the user calls the set, `rows` what it holds, `seen` what was found of them: None before they are looked at.
    """
    if (rows if seen is None else seen[Verdict.FIT]) >= wanted:
        return
    arithmetic = f"{field}: {wanted:,} conversations are wanted in the mix, and {name} holds {rows:,}"
    if seen is not None:
        arithmetic += (
            f", of which {seen[Verdict.FIT]:,} fit: {seen[Verdict.TOO_LONG]:,} are longer than spec.training.sequenceLength "
            f"({longest:,} tokens), {seen[Verdict.NOT_ENCODABLE]:,} cannot be written in the base model's chat template"
        )
    raise Refused(f"{arithmetic}; lower it, or give more rows that fit", "TooFewRows")
