"""The layouts of a JSONL row, and what makes a conversation one: closed lists of keys and roles, nothing ignored."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rehearsal.api.run import DataFormat

Message = dict[str, str]
"""One turn: `role` (system, user, assistant) and `content`, which is never blank."""

MAX_TURNS = 10_000
METADATA = ("id", "source", "dataset", "category", "metadata")
"""Keys that any row may have beside its layout's; they say where it came from and are not trained on."""


class RowError(Exception):
    """What is wrong with a row and what to do, as the end of a sentence that begins with its file and line."""


@dataclass(frozen=True)
class Layout:
    """A row's own keys, and how its turns are read from them."""

    required: tuple[str, ...]
    optional: tuple[str, ...]
    turns: Callable[[Mapping[str, Any]], list[Message]]

    def conversation(self, row: Mapping[str, object]) -> tuple[Message, ...]:
        """Return the row's turns, or raise RowError."""
        if missing := [key for key in self.required if key not in row]:
            raise RowError(f"lacks {_named(missing)}; its layout has {_named(self.required)}")
        if unknown := sorted(row.keys() - {*self.required, *self.optional, *METADATA}):
            raise RowError(f"has {_named(unknown[:4])}, which this layout does not know; remove it or move it into `metadata`")
        return _checked(self.turns(row))


def layout_of(row: Mapping[str, object]) -> DataFormat:
    """Return the one layout whose keys the row has."""
    fitting = [name for name, layout in LAYOUTS.items() if row.keys() >= set(layout.required)]
    if len(fitting) == 1:
        return fitting[0]
    known = "; ".join(f"{name}: {_named(layout.required)}" for name, layout in LAYOUTS.items())
    raise RowError(
        f"has the keys of {'more than one' if fitting else 'no'} known layout; set `format`, or use the keys of one ({known})"
    )


def _messages(row: Mapping[str, Any]) -> list[Message]:
    return [_turn(turn, i, "role", "content") for i, turn in enumerate(_list(row, "messages"), 1)]


def _sharegpt(row: Mapping[str, Any]) -> list[Message]:
    names = {"human": "user", "gpt": "assistant"}
    turns = [_turn(turn, i, "from", "value") for i, turn in enumerate(_list(row, "conversations"), 1)]
    return [{**turn, "role": names.get(turn["role"], turn["role"])} for turn in turns]


def _prompt_response(row: Mapping[str, Any]) -> list[Message]:
    return _pair(_text(row["prompt"], "`prompt`"), _text(row["response"], "`response`"))


def _alpaca(row: Mapping[str, Any]) -> list[Message]:
    asked, given = _text(row["instruction"], "`instruction`"), row.get("input", "")
    if given != "":
        asked = f"{asked}\n\n{_text(given, '`input`')}"
    return _pair(asked, _text(row["output"], "`output`"))


LAYOUTS: Mapping[DataFormat, Layout] = {
    DataFormat.MESSAGES: Layout(("messages",), (), _messages),
    DataFormat.PROMPT_RESPONSE: Layout(("prompt", "response"), (), _prompt_response),
    DataFormat.SHAREGPT: Layout(("conversations",), (), _sharegpt),
    DataFormat.ALPACA: Layout(("instruction", "output"), ("input",), _alpaca),
}


def _list(row: Mapping[str, Any], key: str) -> list[object]:
    turns = row[key]
    if not isinstance(turns, list):
        raise RowError(f"has a `{key}` that is no list; write a list of turns")
    return turns


def _turn(turn: object, number: int, role: str, content: str) -> Message:
    if not isinstance(turn, dict) or turn.keys() != {role, content}:
        raise RowError(f"has a turn {number} that is not an object of just `{role}` and `{content}`; write those two")
    return {
        "role": _text(turn[role], f"`{role}` of turn {number}"),
        "content": _text(turn[content], f"`{content}` of turn {number}"),
    }


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise RowError(f"has a {where} that is no text; write a string")
    if not value.strip():
        raise RowError(f"has an empty {where}; fill it in or remove the row")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise RowError(f"has half a surrogate pair in {where}, which is no character; write the whole character") from None
    return value


def _pair(user: str, assistant: str) -> list[Message]:
    return [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]


def _checked(turns: list[Message]) -> tuple[Message, ...]:
    if len(turns) > MAX_TURNS:
        raise RowError(f"has {len(turns):,} turns; at most {MAX_TURNS:,} are read: split the conversation")
    roles = [turn["role"] for turn in turns]
    if unknown := next((i for i, role in enumerate(roles, 1) if role not in ("system", "user", "assistant")), None):
        raise RowError(f"has an unknown role in turn {unknown}; use system, user or assistant (ShareGPT: system, human or gpt)")
    spoken = roles[1:] if roles[:1] == ["system"] else roles
    if "assistant" not in spoken:
        raise RowError("has no assistant turn; add the answer that is to be learned")
    first = 1 + len(roles) - len(spoken)
    for i, role in enumerate(spoken):
        if role != ("user", "assistant")[i % 2]:
            raise RowError(
                f"has the {role}'s turn {first + i} out of place; after a system turn, or none, user and assistant take turns"
            )
    if spoken[-1] == "user":
        raise RowError("ends with a user's turn; add the answer or remove that turn")
    return tuple(turns)


def _named(keys: Iterable[str]) -> str:
    # A key may be any text at all: escaped and cut, it cannot break the line it is quoted in.
    return ", ".join(f"`{json.dumps(key[:32])[1:-1]}`" for key in keys)
