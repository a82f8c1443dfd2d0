"""A completion as token ids in and token ids out, and its wire form on vLLM's /v1/completions.

Every sampling knob that a model's own generation_config could bend is sent, at its neutral value.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from rehearsal.api.messages import Usage
from rehearsal.inference.body import UnreadableAnswerError, count, token_id

NEUTRAL: Mapping[str, object] = {
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}


@dataclass(frozen=True)
class CompletionRequest:
    """What is asked of an engine. `stop_ids` end a text; `ignore_eos` keeps the model's own end tokens from doing so too.

    `rating_ids` asks for the log probabilities of these tokens as the first one, before any sampling knob touched them.
    """

    prompt: tuple[int, ...]
    max_tokens: int
    n: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    stop_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    seed: int | None = None
    rating_ids: tuple[int, ...] = ()

    def wire(self, model: str) -> dict[str, object]:
        """Return the JSON body."""
        body: dict[str, object] = {
            "model": model,
            "prompt": list(self.prompt),
            "n": self.n,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "stop_token_ids": list(self.stop_ids),
            "ignore_eos": self.ignore_eos,
            "return_token_ids": True,
            **NEUTRAL,
        }
        if self.seed is not None:
            body["seed"] = self.seed
        if self.rating_ids:
            rating = {"logprobs": len(self.rating_ids), "logprob_token_ids": list(self.rating_ids)}
            body |= rating | {"return_tokens_as_token_ids": True}
        return body


@dataclass(frozen=True)
class Choice:
    """One text. `finish` is "stop" (the token `end` ended it, which is not in `ids`) or "length" (it was cut)."""

    ids: tuple[int, ...]
    end: int | None
    finish: str
    logprobs: Mapping[int, float | None] | None = None


@dataclass(frozen=True)
class Completion:
    """An engine's answer: `n` choices in the order of their index."""

    choices: tuple[Choice, ...]
    usage: Usage


def parse_completion(request: CompletionRequest, body: object) -> Completion:
    """Read an engine's answer, or raise UnreadableAnswerError (an engine that is shutting down gives unfinished ones)."""
    try:
        raw = sorted(body["choices"], key=lambda choice: choice["index"])  # type: ignore[index]
        counts = body["usage"]  # type: ignore[index]
        choices = tuple(_choice(choice, request) for choice in raw)
        usage = Usage(prompt_tokens=count(counts["prompt_tokens"]), completion_tokens=count(counts["completion_tokens"]))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise UnreadableAnswerError(f"{type(error).__name__} in an answer of the engine") from error
    if len(choices) != request.n:
        raise UnreadableAnswerError(f"the engine gave {len(choices)} of {request.n} choices")
    return Completion(choices, usage)


def _choice(raw: Mapping[str, object], request: CompletionRequest) -> Choice:
    finish, ids = str(raw["finish_reason"]), tuple(map(token_id, raw["token_ids"]))  # type: ignore[call-overload]
    if finish not in ("stop", "length"):
        raise ValueError("a choice that did not finish")
    logprobs = _logprobs(raw["logprobs"]) if request.rating_ids else None
    # No stop strings are ever asked for, so what stopped a text is its last token.
    return Choice(ids[:-1], ids[-1], finish, logprobs) if finish == "stop" else Choice(ids, None, finish, logprobs)


def _logprobs(raw: object) -> dict[int, float | None]:
    first = raw["top_logprobs"][0]  # type: ignore[index]
    return {int(token.removeprefix("token_id:")): _logprob(value) for token, value in first.items()}


def _logprob(value: object) -> float | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise ValueError("a log probability that is none")
    return value
