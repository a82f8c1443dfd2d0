"""Counts instructions as selection looks at them: what is lost on the way to conversations, and what that does to lengths. Pure.

Not covered: whether what was lost differs in content. The report compares categories, where the run names some.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rehearsal.data.filters import Output, Reason, unfit
from rehearsal.report.contents import Fact
from rehearsal.report.losses import UNANSWERED, Loss

CUT_OFF = "length"
"""The `finish` of an answer that reached the most tokens it may have."""
NO_CONTROL: frozenset[int] = frozenset()
OF_FINISH = {CUT_OFF: Loss.TRUNCATED, str(Reason.CONTROL): Loss.BROKEN}
OF_REASON = {Reason.TRUNCATED: Loss.UNFINISHED, Reason.EMPTY: Loss.EMPTY, Reason.DEGENERATE: Loss.DEGENERATE}
"""What an unfit answer loses an instruction for, by the answer's `finish` where that says more, else by why it is unfit."""


def answer_unfit(text: str, token_ids: Sequence[int], finish: str) -> Loss | None:
    """Return why an answer may not be chosen, or None: it did not stop by itself, is empty or degenerate."""
    reason = unfit(Output(text, token_ids, finish), NO_CONTROL)
    return None if reason is None else OF_FINISH.get(finish, OF_REASON[reason])


def unanswered(losses: Iterable[Loss]) -> Loss:
    """Return why an instruction has no whole answer: the commonest loss of its answers, the first in order where two tie."""
    counts = Counter(losses)
    return max(UNANSWERED, key=lambda loss: counts[loss]) if counts else Loss.NO_ANSWER


@dataclass
class Lengths:
    """Lengths in characters, counted by length: as many numbers as there are different ones."""

    counts: Counter[int] = field(default_factory=Counter)

    def add(self, text: str) -> None:
        """Count a text."""
        self.counts[len(text)] += 1

    def mean(self) -> float:
        """Return the mean length, 0 of nothing."""
        return sum(length * count for length, count in self.counts.items()) / max(1, self.counts.total())

    def median(self) -> int:
        """Return the lower median length, 0 of nothing."""
        left = (self.counts.total() + 1) // 2
        for length in sorted(self.counts):
            left -= self.counts[length]
            if left <= 0:
                return length
        return 0


@dataclass
class Funnel:
    """Counts instructions as selection looks at them: what was lost and why, and lengths of all, of the whole and of the kept."""

    considered: int = 0
    answers: int = 0
    cut_off: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    instructions: Lengths = field(default_factory=Lengths)
    instructions_kept: Lengths = field(default_factory=Lengths)
    answers_all: Lengths = field(default_factory=Lengths)
    answers_whole: Lengths = field(default_factory=Lengths)
    answers_kept: Lengths = field(default_factory=Lengths)

    def consider(self, instruction: str) -> None:
        """Take an accepted instruction."""
        self.considered += 1
        self.instructions.add(instruction)

    def answer(self, text: str, finish: str, whole: bool) -> None:
        """Take one of the answers to it."""
        self.answers += 1
        self.cut_off += finish == CUT_OFF
        self.answers_all.add(text)
        if whole:
            self.answers_whole.add(text)

    def keep(self, instruction: str, answer: str) -> None:
        """Take the conversation that it became."""
        self.instructions_kept.add(instruction)
        self.answers_kept.add(answer)

    @property
    def whole(self) -> int:
        """Conversations that were kept."""
        return self.considered - self.lost.total()

    def facts(self) -> dict[str, Fact]:
        """Return the counts after each step, and lengths in characters, as they are sealed."""
        answered = self.considered - sum(self.lost[loss] for loss in UNANSWERED)
        lengths = {
            "instructions.accepted": self.instructions,
            "instructions.kept": self.instructions_kept,
            "answers.all": self.answers_all,
            "answers.whole": self.answers_whole,
            "answers.kept": self.answers_kept,
        }
        return {
            "considered": self.considered,
            "answered": answered,
            "judged": answered - self.lost[Loss.NO_VERDICT],
            "answers": self.answers,
            "answersCutOff": self.cut_off,
            **{f"meanLength.{name}": round(found.mean(), 1) for name, found in lengths.items()},
            **{f"medianLength.{name}": found.median() for name, found in lengths.items()},
        }
