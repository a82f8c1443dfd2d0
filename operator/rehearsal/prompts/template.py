"""A model's chat template, rendered in jinja2's sandbox as transformers does it, by a clock that stands still.

Time and memory are bounded by the process that this runs in (`model`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from rehearsal.outside.text import shown

# Llama 3.1's own fallback where no clock is given: a prompt must not change at midnight.
TODAY = datetime(2024, 7, 26, tzinfo=UTC)
SHOWN_ROLES = 6


@dataclass(frozen=True)
class Message:
    """One turn of a conversation; `role` is system, user or assistant."""

    role: str
    content: str


class UnencodableError(ValueError):
    """These messages cannot be put before this model; the text says why, without quoting them. A row is refused for it."""


class UnfitTemplateError(UnencodableError):
    """The template raises on these roles, or does not show every message once, in order and as it was written."""


class _Generation(Extension):
    """`{% generation %}` marks for transformers what an assistant said; what is inside is rendered like all else."""

    tags = {"generation"}  # noqa: RUF012  jinja2 declares it so

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatTemplate:
    """A compiled template with the tokenizer's variables (`bos_token`, `eos_token`, …). Raises UnfitTemplateError."""

    def __init__(self, source: str, variables: Mapping[str, str]) -> None:
        self._variables = dict(variables)
        # Prompts become token ids, not HTML: escaping would rewrite them.
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols], autoescape=False
        )
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = TODAY.strftime
        try:
            self._compiled = environment.from_string(source)
        except MemoryError:
            raise
        except Exception as error:  # jinja2 writes Python of it, which may fail to compile in ways of its own
            raise UnfitTemplateError(f"the chat template is not valid jinja2: {_words(error)}") from error

    def render(self, messages: Sequence[Message], add_generation_prompt: bool) -> str:
        """Return the conversation as text, without tools or documents. Raises UnfitTemplateError where the template raises."""
        try:
            return self._compiled.render(
                self._variables,
                messages=[asdict(message) for message in messages],
                tools=None,
                documents=None,
                add_generation_prompt=add_generation_prompt,
            )
        except MemoryError:
            raise
        except Exception as error:  # a template computes on what it is given, like any program
            roles = ", ".join(message.role for message in messages[:SHOWN_ROLES])
            more = ", …" if len(messages) > SHOWN_ROLES else ""
            raise UnfitTemplateError(f"the chat template refuses the roles {roles}{more}: {_words(error)}") from error


def _words(error: Exception) -> str:
    return shown(" ".join(str(error).split()) or type(error).__name__, 200)


def _tojson(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise TemplateError(message)
