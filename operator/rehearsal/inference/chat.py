"""A chat completion as text in and text out, and its wire form on an OpenAI-compatible /chat/completions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rehearsal.api.messages import Usage
from rehearsal.inference.body import UnreadableAnswerError, count
from rehearsal.outside.text import shown

LONGEST_FINISH, LONGEST_NAME = 64, 253
FILTERED = "content-filter"
"""The `finish` of a text that the service withheld."""


@dataclass(frozen=True)
class ChatRequest:
    """What is asked of a service. `messages` are {"role", "content"}."""

    messages: Sequence[Mapping[str, str]]
    max_tokens: int
    n: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None

    def wire(self, model: str) -> dict[str, object]:
        """Return the JSON body."""
        body: dict[str, object] = {
            "model": model,
            "messages": [dict(message) for message in self.messages],
            "n": self.n,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
        }
        return body if self.seed is None else body | {"seed": self.seed}


@dataclass(frozen=True)
class Said:
    """One text. `finish` is "stop", "length" (it was cut), or whatever else kept it from being whole."""

    text: str
    finish: str


@dataclass(frozen=True)
class Served:
    """Who answered, in the service's words. `fingerprint` is that of its configuration, where it tells one."""

    model: str
    fingerprint: str | None


@dataclass(frozen=True)
class Chat:
    """A service's answer: texts in the order of their index; or none, and why it declined."""

    choices: tuple[Said, ...]
    usage: Usage
    declined: str | None = None


def parse_chat(body: object) -> tuple[Chat, Served]:
    """Read a service's answer, or raise UnreadableAnswerError."""
    try:
        raw = sorted(body["choices"], key=lambda choice: choice["index"])  # type: ignore[index]
        counts = body.get("usage") or {}  # type: ignore[attr-defined]
        usage = Usage(
            prompt_tokens=count(counts.get("prompt_tokens") or 0), completion_tokens=count(counts.get("completion_tokens") or 0)
        )
        fingerprint = body.get("system_fingerprint")  # type: ignore[attr-defined]
        served = Served(_name(body["model"]), None if fingerprint is None else _name(fingerprint))  # type: ignore[index]
        choices = tuple(_said(choice) for choice in raw)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnreadableAnswerError(f"{type(error).__name__} in an answer of the service") from error
    if not choices:
        raise UnreadableAnswerError("the service gave no choice")
    return Chat(choices, usage), served


def _said(raw: Mapping[str, object]) -> Said:
    text = raw["message"]["content"]  # type: ignore[index]
    finish = shown(str(raw["finish_reason"]), LONGEST_FINISH)
    if text is None or finish == "content_filter":
        return Said("", FILTERED)
    if not isinstance(text, str):
        raise TypeError("a content that is no text")
    return Said(_whole(text), finish)


def _name(said: object) -> str:
    return shown(str(said), LONGEST_NAME)


def _whole(text: str) -> str:
    """Join surrogate pairs, and replace what is left of one where the service cut the text inside it."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
