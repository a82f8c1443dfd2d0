"""A model's tokenizer and chat template as stages use them: in a process with limits, since the files may be hostile.

Not covered: the engine, the harness and the trainer's export load the same files themselves.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

from rehearsal.api.messages import Refused
from rehearsal.outside.bounded import Bounded, OutOfBounds, Raised
from rehearsal.prompts.masks import Sample
from rehearsal.prompts.prequery import PreQuery
from rehearsal.prompts.ratings import RatingPlace
from rehearsal.prompts.template import Message, UnencodableError

PROGRAM = "rehearsal.prompts.served"
SECONDS = 120
"""Of processor time, a call: what the longest row of a data file takes several times over."""
MEMORY = 3 * 2**29
"""Of address space: a vocabulary of 256,000 tokens takes half of it while it is loaded."""

Value = Any
"""JSON, as the program answers it."""


class ChatModel:
    """What is asked of a model's tokenizer and template.

    Every method raises Refused where the files do not give what is asked, or break a bound; those that take a text raise
    UnencodableError where it is this text that cannot be put before the model.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._bounded = Bounded(PROGRAM, str(folder), seconds=SECONDS, memory=MEMORY)

    @classmethod
    def load(cls, folder: Path) -> "ChatModel":
        """Read a model folder's tokenizer files. Raises Refused, naming the file."""
        model = cls(folder)
        try:
            model._controls  # noqa: B018  the first question loads the files
        except BaseException:
            model.close()
            raise
        return model

    @cached_property
    def control_ids(self) -> frozenset[int]:
        """The ids that content never becomes."""
        return frozenset(id_ for id_, _ in self._controls)

    @property
    def control_texts(self) -> tuple[str, ...]:
        """The texts of the control ids."""
        return tuple(text for _, text in self._controls)

    @cached_property
    def end_ids(self) -> tuple[int, ...]:
        """The ids that end an assistant's turn, sorted."""
        return tuple(self._ask("end_ids"))

    def pre_query(self, text: str | None = None) -> PreQuery:
        """Derive what stands before a user's words, from the template or from the run's own wording of it."""
        found = self._ask("pre_query", text)
        return PreQuery(tuple(found["ids"]), found["lead"], frozenset(found["user_end_ids"]), tuple(found["trails"]))

    def instruction(self, pre_query: PreQuery, generated: Sequence[int]) -> str | None:
        """Return the user's words in what the model wrote after the pre-query; None where it left the chat."""
        plain = {
            "ids": pre_query.ids,
            "lead": pre_query.lead,
            "user_end_ids": sorted(pre_query.user_end_ids),
            "trails": pre_query.trails,
        }
        text: str | None = self._ask("instruction", plain, list(generated))
        return text

    def rating_place(self) -> RatingPlace:
        """Return where one token decides the rating."""
        found = self._ask("rating_place")
        ones, twos, threes, fours, fives = found["rating_ids"]
        return RatingPlace(tuple(found["prefix_ids"]), (ones, twos, threes, fours, fives))

    def prompt(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Return a conversation's ids with the generation prompt after it. Raises UnencodableError."""
        return tuple(self._ask_about("prompt", _pairs(messages)))

    def sample(self, messages: Sequence[Message]) -> Sample:
        """Return a training sample of a whole conversation. Raises UnencodableError."""
        found = self._ask_about("sample", _pairs(messages))
        return Sample(found["ids"], [(start, end) for start, end in found["spans"]])

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids; control tokens show as their text."""
        text: str = self._ask("decode", list(ids))
        return text

    def close(self) -> None:
        """End the process; the next question starts it again."""
        self._bounded.close()

    def __enter__(self) -> "ChatModel":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @cached_property
    def _controls(self) -> tuple[tuple[int, str], ...]:
        return tuple((id_, text) for id_, text in self._ask("controls"))

    def _ask_about(self, name: str, text: object) -> Value:
        try:
            return self._answer(name, text)
        except Raised as error:
            raise UnencodableError(f"the model's tokenizer fails on it ({error.kind})") from None

    def _ask(self, name: str, *arguments: object) -> Value:
        try:
            return self._answer(name, *arguments)
        except Raised as error:
            raise self._unusable(f"the tokenizer or chat template fails ({error.kind})") from None

    def _answer(self, name: str, *arguments: object) -> Value:
        try:
            answer: Value = self._bounded.call([name, *arguments])
        except OutOfBounds as error:
            raise self._unusable(f"the tokenizer or chat template {error}") from None
        if "refused" in answer:
            raise Refused(*answer["refused"])
        if "unencodable" in answer:
            raise UnencodableError(answer["unencodable"])
        return answer["value"]

    def _unusable(self, why: str) -> Refused:
        return Refused(f"{self._folder}: {why}; use a model whose files are sound", "ModelUnusable")


def _pairs(messages: Sequence[Message]) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in messages]
