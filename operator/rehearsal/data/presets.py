"""The public data sets that a run may rehearse by name: where each lies on the hub, and how its rows become conversations.

Public sets have rows that are no conversations: those are refused by reason, not mended. An assistant's turn before the first
user's and a user's turn that nobody answers are left out: sets that were cut into pieces are full of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rehearsal.api.run import DataFormat, Preset
from rehearsal.data.layouts import LAYOUTS, Message, RowError

ROLES: Mapping[str, str] = {
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bing", "bard"), "assistant"),
    "system": "system",
}


class UnfitRow(Exception):
    """A row that is refused; its text is the reason."""


@dataclass(frozen=True)
class PublicSet:
    """A data set on the hub. `files` are patterns of paths, in any folder.

    `turns` is the column of the turns, none where a row is one pair. A turn whose `unwanted` marks are true takes its whole row out.
    """

    repository: str
    files: tuple[str, ...]
    turns: str | None
    role: str = "role"
    content: str = "content"
    unwanted: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """What is read of a row."""
        return (self.turns,) if self.turns else ("instruction", "input", "output")


def _sharegpt(repository: str, *files: str) -> PublicSet:
    return PublicSet(repository, files, "conversations", "from", "value")


PRESETS: Mapping[Preset, PublicSet] = {
    Preset.SHAREGPT: _sharegpt("anon8231489123/ShareGPT_Vicuna_unfiltered", "ShareGPT_V3_unfiltered_cleaned_split.json"),
    Preset.EVOL_INSTRUCT: _sharegpt("WizardLMTeam/WizardLM_evol_instruct_V2_196k", "WizardLM_evol_instruct_V2_143k.json"),
    Preset.GENQA: PublicSet("tomg-group-umd/GenQA", ("*.parquet",), "text"),
    Preset.OPENHERMES: PublicSet("teknium/openhermes", ("openhermes.json",), None),
    Preset.OPENHERMES_2_5: _sharegpt("teknium/OpenHermes-2.5", "openhermes2_5.json"),
    Preset.TULU_V2_MIX: PublicSet("allenai/tulu-v2-sft-mixture", ("*train-*.parquet",), "messages"),
    Preset.WILDCHAT: PublicSet("allenai/WildChat", ("*train-*.parquet",), "conversation", unwanted=("toxic", "redacted")),
    Preset.ULTRACHAT: PublicSet("HuggingFaceH4/ultrachat_200k", ("*train_sft-*.parquet",), "messages"),
}
"""Names and columns as their cards tell them. The repositories belong to others: one that moved is refused, not guessed."""


def conversation_of(row: Mapping[str, Any], public: PublicSet) -> list[Message]:
    """Return a row's turns, or raise UnfitRow."""
    if public.turns is None:
        layout, made = LAYOUTS[DataFormat.ALPACA], {key: row.get(key) or "" for key in public.columns}
    else:
        layout, made = LAYOUTS[DataFormat.MESSAGES], {"messages": _trimmed(_turns(row.get(public.turns), public))}
    try:
        return list(layout.conversation(made))
    except RowError:
        raise UnfitRow("not-a-conversation") from None


def _turns(turns: object, public: PublicSet) -> list[Message]:
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise UnfitRow("no-turns")
    if any(turn.get(mark) for turn in turns for mark in public.unwanted):
        raise UnfitRow("unwanted")
    found = [{"role": ROLES.get(str(turn.get(public.role)), ""), "content": turn.get(public.content)} for turn in turns]
    if not all(turn["role"] for turn in found):
        raise UnfitRow("unknown-role")
    return found


def _trimmed(turns: list[Message]) -> list[Message]:
    """From the first user's turn, after a system turn if there is one, to the last assistant's."""
    system = turns[:1] if turns and turns[0]["role"] == "system" else []
    spoken = turns[len(system) :]
    while spoken and spoken[0]["role"] == "assistant":
        spoken = spoken[1:]
    while spoken and spoken[-1]["role"] == "user":
        spoken = spoken[:-1]
    return [*system, *spoken]
