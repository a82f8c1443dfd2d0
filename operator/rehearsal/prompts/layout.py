"""Where a chat template puts each message: its own text between the contents, found by rendering sentinels in their place.

The cost grows with the length of what is rendered, however many messages there are.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

from rehearsal.prompts.template import ChatTemplate, Message, UnfitTemplateError

# Holds what a rewriting template would touch: both cases, and what HTML escapes.
_SENTINEL = "Zq{:04d}<&>'x"
_ANY_SENTINEL = re.compile(r"Zq([0-9]{4,9})<&>'x")
# Space that no template writes itself, so that it can be told from the template's own.
_LEFT, _RIGHT = "\t \n", "\n \t"


@dataclass(frozen=True)
class Slot:
    """The place of one message's content, and which ends of it the template trims."""

    message: int
    trims_left: bool
    trims_right: bool

    def text(self, content: str) -> str:
        """Return the content as the template writes it."""
        content = content.lstrip() if self.trims_left else content
        return content.rstrip() if self.trims_right else content


@dataclass(frozen=True)
class Layout:
    """`literals` are the template's own texts, one more than `slots`; the conversation is literal, slot, literal, …, literal."""

    literals: tuple[str, ...]
    slots: tuple[Slot, ...]

    def after(self, message: int) -> str:
        """Return the template's text after this message's content, up to the next content or the end."""
        return self.literals[self._places[message] + 1]

    def fill(self, contents: Sequence[str]) -> str:
        """Return the conversation's text with these contents, by message."""
        filled = (literal + slot.text(contents[slot.message]) for literal, slot in zip(self.literals[:-1], self.slots, strict=True))
        return "".join(filled) + self.literals[-1]

    @cached_property
    def _places(self) -> Mapping[int, int]:
        return {slot.message: place for place, slot in enumerate(self.slots)}


@lru_cache(maxsize=128)
def layout_of(template: ChatTemplate, roles: tuple[str, ...], add_generation_prompt: bool) -> Layout:
    """Return how the template lays out messages of these roles.

    Raises UnfitTemplateError when it raises, or does not show each of them exactly once, unchanged (but for space at its ends)
    and in order; a system message may stand anywhere.
    """
    rendered = _rendered(template, roles, "", "", add_generation_prompt)
    places = [(int(match.group(1)), match) for match in _ANY_SENTINEL.finditer(rendered)]
    times = Counter(message for message, _ in places)
    for message, role in enumerate(roles):
        if times[message] != 1:
            how = f"repeats the {role}'s text" if times[message] else f"rewrites or drops the {role}'s text"
            raise UnfitTemplateError(f"the chat template {how}: it must stand there once, as it was written")
    places = [(message, match) for message, match in places if message < len(roles)]
    if any(a > b for a, b in pairwise(message for message, _ in places if roles[message] != "system")):
        raise UnfitTemplateError(
            "the chat template moves the user's or assistant's text: turns must stand in the order they were said"
        )
    ends = [0, *(end for _, match in places for end in match.span()), len(rendered)]
    literals = tuple(rendered[start:end] for start, end in zip(ends[::2], ends[1::2], strict=True))
    around = _rendered(template, roles, _LEFT, _RIGHT, add_generation_prompt)
    trims = {
        int(match.group(1)): (not around.endswith(_LEFT, 0, match.start()), not around.startswith(_RIGHT, match.end()))
        for match in _ANY_SENTINEL.finditer(around)
    }
    slots = tuple(Slot(message, *trims.get(message, (False, False))) for message, _ in places)
    layout = Layout(literals, slots)
    if layout.fill(_contents(len(roles), _LEFT, _RIGHT)) != around:
        raise UnfitTemplateError("the chat template rewrites a text by what stands at its ends")
    return layout


def _rendered(template: ChatTemplate, roles: tuple[str, ...], left: str, right: str, add_generation_prompt: bool) -> str:
    contents = _contents(len(roles), left, right)
    return template.render([Message(*pair) for pair in zip(roles, contents, strict=True)], add_generation_prompt)


def _contents(count: int, left: str, right: str) -> list[str]:
    return [f"{left}{_SENTINEL.format(i)}{right}" for i in range(count)]
