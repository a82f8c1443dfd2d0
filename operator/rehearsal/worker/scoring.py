"""One judge's way to a score: the verdict it writes after a reason, or the probabilities of the five rating tokens."""

from dataclasses import dataclass
from typing import Protocol, TypeVar

from rehearsal.api.messages import Usage
from rehearsal.api.reconstruction import Judging, JudgingMode
from rehearsal.inference.chat import ChatRequest
from rehearsal.inference.client import Engine
from rehearsal.inference.completion import CompletionRequest
from rehearsal.inference.control_strings import ControlStrings
from rehearsal.inference.endpoint import Endpoint
from rehearsal.judging.rubric import judge_messages
from rehearsal.judging.verdict import RATINGS, expected_rating, parse_verdict
from rehearsal.prompts.model import ChatModel
from rehearsal.prompts.ratings import RatingPlace
from rehearsal.prompts.template import Message, UnencodableError
from rehearsal.worker.endpoint_stage import NOT_SENT
from rehearsal.worker.engine_stage import room_for

Client_contra = TypeVar("Client_contra", contravariant=True)


@dataclass(frozen=True)
class Scored:
    """A judge's score, None for an abstention, and what it consumed; `refused` says why it was not shown the case."""

    score: float | None
    usage: Usage
    refused: str | None = None


ABSTAINED = Scored(None, Usage())
"""The judge cannot be shown the case: too long for it, or not to be encoded."""


class Scorer(Protocol[Client_contra]):
    """Scores one response to one instruction."""

    async def score(self, client: Client_contra, instruction: str, response: str) -> Scored:
        """Return the score, an abstention included."""
        ...


def scorer(judging: Judging, model: ChatModel, max_model_len: int) -> Scorer[Engine]:
    """Return the run's kind of scorer; Refused when this judge's tokenizer cannot give that kind."""
    questions = Questions(judging.rubric, model)
    if judging.mode is JudgingMode.LOG_PROB:
        return _Probable(questions, model.rating_place(), max_model_len)
    return _Written(questions, model.end_ids, judging.max_tokens, max_model_len)


def endpoint_scorer(judging: Judging, control: ControlStrings, seed: int) -> Scorer[Endpoint]:
    """Return the scorer of a judge behind an endpoint, which writes its verdicts."""
    return _Told(judging.rubric, judging.max_tokens, control, seed)


@dataclass(frozen=True)
class Questions:
    """What a judge is asked, as token ids."""

    rubric: str
    model: ChatModel

    def prompt(self, instruction: str, response: str) -> tuple[int, ...] | None:
        """Return the prompt up to the judge's first word, or None where the case cannot be encoded."""
        messages = [Message(**message) for message in judge_messages(self.rubric, instruction, response)]
        try:
            return self.model.prompt(messages)
        except UnencodableError:
            return None


@dataclass(frozen=True)
class _Probable:
    questions: Questions
    place: RatingPlace
    max_model_len: int

    async def score(self, client: Engine, instruction: str, response: str) -> Scored:
        prompt = self.questions.prompt(instruction, response)
        if prompt is None or room_for(1, len(prompt) + len(self.place.prefix_ids), self.max_model_len) < 1:
            return ABSTAINED
        request = CompletionRequest((*prompt, *self.place.prefix_ids), max_tokens=1, rating_ids=self.place.rating_ids)
        completion = await client.complete(request)
        given = completion.choices[0].logprobs or {}
        by_rating = {rating: given.get(id_) for rating, id_ in zip(RATINGS, self.place.rating_ids, strict=True)}
        return Scored(expected_rating(by_rating), completion.usage)


@dataclass(frozen=True)
class _Written:
    questions: Questions
    end_ids: tuple[int, ...]
    max_tokens: int
    max_model_len: int

    async def score(self, client: Engine, instruction: str, response: str) -> Scored:
        prompt = self.questions.prompt(instruction, response)
        room = room_for(self.max_tokens, len(prompt or ()), self.max_model_len)
        if prompt is None or room < 1:
            return ABSTAINED
        completion = await client.complete(CompletionRequest(prompt, max_tokens=room, stop_ids=self.end_ids))
        said = completion.choices[0]
        return Scored(parse_verdict(self.questions.model.decode(said.ids), said.finish), completion.usage)


@dataclass(frozen=True)
class _Told:
    """The case is told as text. No template of ours keeps a forged turn from being one, so a case that might forge one is not told."""

    rubric: str
    max_tokens: int
    control: ControlStrings
    seed: int

    async def score(self, client: Endpoint, instruction: str, response: str) -> Scored:
        if self.control.within(instruction, response):
            return Scored(None, Usage(), NOT_SENT)
        messages = judge_messages(self.rubric, instruction, response)
        chat = await client.chat(ChatRequest(messages, self.max_tokens, seed=self.seed))
        if chat.declined:
            return Scored(None, chat.usage, chat.declined)
        return Scored(parse_verdict(chat.choices[0].text, chat.choices[0].finish), chat.usage)
