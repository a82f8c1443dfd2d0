"""Loss masks: a conversation's ids, and the spans of them that an assistant said and is to learn."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

from rehearsal.prompts.chat import ChatTokenizer
from rehearsal.prompts.conversation import Turns, encode_turns
from rehearsal.prompts.layout import Layout
from rehearsal.prompts.template import Message, UnencodableError


@dataclass(frozen=True)
class Sample:
    """`spans` are half-open and in order; each is one assistant turn: all that is generated, its end-of-turn token included."""

    ids: list[int]
    spans: list[tuple[int, int]]


def tokenise_sample(tokenizer: ChatTokenizer, messages: Sequence[Message]) -> Sample:
    """Return a training sample of a whole conversation, with every span read back and compared with what the assistant says.

    Raises UnencodableError when the conversation cannot be encoded, holds no assistant turn, or an assistant's text would not
    be trained as it is written up to a token that ends it.
    """
    turns = encode_turns(tokenizer, messages, add_generation_prompt=False, check=partial(_refuse_endless, tokenizer))
    spans = [_span(tokenizer, turns, message, start) for message, start in sorted(turns.starts.items())]
    if not spans:
        raise UnencodableError("no assistant turn: nothing in it can be learned")
    return Sample(turns.ids, spans)


def _refuse_endless(tokenizer: ChatTokenizer, roles: Sequence[str], layout: Layout) -> None:
    """Refuse a layout in which an answer has no end, rather than encode all its turns as one stretch of text."""
    for message, role in enumerate(roles):
        if role == "assistant" and not _ends_in_control(tokenizer, layout.after(message)):
            raise UnencodableError(
                "the chat template writes no end-of-turn token after an assistant's words: the model would not learn to stop"
            )


def _span(tokenizer: ChatTokenizer, turns: Turns, message: int, start: int) -> tuple[int, int]:
    # Content holds no control id, so the first one is the template's.
    end = next(i for i in range(start, len(turns.ids)) if turns.ids[i] in tokenizer.control_ids)
    read = tokenizer.decode_after(turns.ids[max(0, start - 1) : start], turns.ids[start:end])
    written = turns.messages[message].content
    if _comparable(tokenizer, read) != _comparable(tokenizer, written):
        raise UnencodableError("an assistant's text does not come back from its tokens as it was written")
    return start, end + 1


@lru_cache(maxsize=256)
def _ends_in_control(tokenizer: ChatTokenizer, literal: str) -> bool:
    return any(isinstance(part, int) for part in tokenizer.split_controls(literal))


def _comparable(tokenizer: ChatTokenizer, text: str) -> str:
    """Leave out what the tokenizer or template may change: its normal form, and space at the ends."""
    return tokenizer.normalised(text).strip("▁ \t\r\n")
