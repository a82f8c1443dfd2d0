"""Which model outputs are unfit, and why: every refusal has one reason, the first that applies in a fixed order.

Not covered: loops longer than one token ("ab ab ab …"), and text that is fluent nonsense.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from rehearsal.api.messages import TooManyRefused
from rehearsal.api.reconstruction import Filters

REPEATS = 8
"""Tokens from which an output of one token alone is degenerate."""
SYMBOLS = 4
"""Characters from which a text of one symbol alone (`!!!!`) is degenerate; letters and digits may be an answer."""


class Reason(StrEnum):
    """Why an output is unfit, in the order in which it is looked at. Whatever did not stop by itself is truncated."""

    TRUNCATED = "truncated"
    EMPTY = "empty"
    DEGENERATE = "degenerate"
    CONTROL = "control-token"
    TOO_SHORT = "too-short"
    TOO_LONG = "too-long"
    DUPLICATE = "duplicate"


@dataclass(frozen=True)
class Output:
    """What a model wrote in one go: its text, its token ids without the one that ended it, the engine's reason to stop."""

    text: str
    token_ids: Sequence[int]
    finish: str


def unfit(output: Output, control_ids: frozenset[int]) -> Reason | None:
    """Return why an output may neither be asked nor learned, or None. The spelling of a control token is ordinary text."""
    if output.finish != "stop":
        return Reason.TRUNCATED
    if not output.text:
        return Reason.EMPTY
    if _degenerate(output):
        return Reason.DEGENERATE
    if not control_ids.isdisjoint(output.token_ids):
        return Reason.CONTROL
    return None


class Intake:
    """Takes the fit ones of a round's elicited instructions, in order, and counts the others by reason.

    `characters`: the length of all that were looked at, together. `earlier` are the texts that earlier rounds accepted: where
    duplicates are dropped, they are the originals of this round's.
    """

    def __init__(self, filters: Filters, control_ids: frozenset[int], earlier: Iterable[str] = ()) -> None:
        self.accepted = 0
        self.refused: Counter[str] = Counter()
        self.characters = 0
        self._filters = filters
        self._control_ids = control_ids
        self._seen = {_digest(text) for text in earlier}

    def accepts(self, output: Output) -> bool:
        """Look at the next output; count it as accepted or refused."""
        self.characters += len(output.text)
        reason = self._refusal(output)
        if reason:
            self.refused[str(reason)] += 1
        else:
            self.accepted += 1
        return reason is None

    def check(self) -> None:
        """Raise TooManyRefused where the model or its template is wrong: more than `maxRefused` of the outputs are unfit.

        Duplicates are left out of the share: they say that the distribution is narrow, not that it is broken.
        """
        unfit_rows = self.refused.total() - self.refused[Reason.DUPLICATE]
        seen = unfit_rows + self.accepted
        if unfit_rows > self._filters.max_refused * seen:
            counts = ", ".join(f"{reason} {count:,}" for reason, count in self.refused.most_common())
            raise TooManyRefused(
                f"{unfit_rows:,} of {seen:,} elicited instructions were unfit ({counts}), more than the share "
                f"spec.rehearsal.reconstructed.filters.maxRefused {self._filters.max_refused:g} allows; "
                "look at the chat template, sampling.maxTokens and filters.length"
            )

    def _refusal(self, output: Output) -> Reason | None:
        if reason := unfit(output, self._control_ids):
            return reason
        length = self._filters.length
        if len(output.token_ids) < length.min:
            return Reason.TOO_SHORT
        if len(output.token_ids) > length.max:
            return Reason.TOO_LONG
        if self._filters.exact_duplicates:
            text = _digest(output.text)
            if text in self._seen:
                return Reason.DUPLICATE
            self._seen.add(text)
        return None


def _digest(text: str) -> bytes:
    """Return 16 bytes that stand for a text: ten million instructions would not fit in memory."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _degenerate(output: Output) -> bool:
    text = output.text.strip()
    if not text:
        return True
    if len(text) >= SYMBOLS and not text[0].isalnum() and all(symbol == text[0] for symbol in text):
        return True
    # The first token of a repetition may differ: it lacks the leading space.
    ids = output.token_ids
    return len(ids) >= REPEATS and all(id_ == ids[1] for id_ in islice(ids, 2, None))
