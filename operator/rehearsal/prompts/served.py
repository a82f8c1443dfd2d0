"""The program behind `ChatModel`: a model's tokenizer and chat template, asked by name. It runs in the bounded child."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rehearsal.api.messages import Refused
from rehearsal.prompts.chat import ChatTokenizer
from rehearsal.prompts.conversation import encode_conversation
from rehearsal.prompts.masks import tokenise_sample
from rehearsal.prompts.prequery import PreQuery, derive_pre_query, read_instruction
from rehearsal.prompts.ratings import rating_place
from rehearsal.prompts.template import Message, UnencodableError
from rehearsal.prompts.turns import assistant_end_ids

Pairs = Sequence[Sequence[str]]
"""Messages as [role, content]."""


class _Served:
    """What a model's files can be asked; every answer is JSON."""

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        self._tokenizer = tokenizer

    def controls(self) -> list[tuple[int, str]]:
        return [(id_, self._tokenizer.decode([id_])) for id_ in sorted(self._tokenizer.control_ids)]

    def end_ids(self) -> list[int]:
        return sorted(assistant_end_ids(self._tokenizer))

    def pre_query(self, text: str | None) -> dict[str, Any]:
        found = derive_pre_query(self._tokenizer, text)
        return asdict(found) | {"user_end_ids": sorted(found.user_end_ids)}

    def instruction(self, pre_query: dict[str, Any], generated: list[int]) -> str | None:
        return read_instruction(self._tokenizer, PreQuery(**pre_query), generated)

    def rating_place(self) -> dict[str, Any]:
        return asdict(rating_place(self._tokenizer))

    def prompt(self, messages: Pairs) -> list[int]:
        return encode_conversation(self._tokenizer, _messages(messages), add_generation_prompt=True)

    def sample(self, messages: Pairs) -> dict[str, Any]:
        return asdict(tokenise_sample(self._tokenizer, _messages(messages)))

    def decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids)


def prepare(folder: str) -> Callable[[Sequence[Any]], object]:
    """Load a model folder, and return what answers `[name, argument, …]` with a value, or with why it refuses."""
    try:
        served = _Served(ChatTokenizer.load(Path(folder)))
    except Refused as error:
        refusal = {"refused": [str(error), error.reason]}
        return lambda _: refusal

    def answer(call: Sequence[Any]) -> object:
        name, *arguments = call
        try:
            return {"value": getattr(served, name)(*arguments)}
        except Refused as error:
            return {"refused": [str(error), error.reason]}
        except UnencodableError as error:
            return {"unencodable": str(error)}

    return answer


def _messages(pairs: Pairs) -> list[Message]:
    return [Message(*pair) for pair in pairs]
