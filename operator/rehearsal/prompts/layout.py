"""Where a chat template puts each message: its own text between the contents, found by rendering sentinels in their place."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from rehearsal.prompts.template import ChatTemplate, Message, UnfitTemplateError

# Holds what a rewriting template would touch: both cases, and what HTML escapes.
_SENTINEL = "Zq{:04d}<&>'x"
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
        return self.literals[next(place for place, slot in enumerate(self.slots) if slot.message == message) + 1]

    def fill(self, contents: Sequence[str]) -> str:
        """Return the conversation's text with these contents, by message."""
        filled = (literal + slot.text(contents[slot.message]) for literal, slot in zip(self.literals[:-1], self.slots, strict=True))
        return "".join(filled) + self.literals[-1]


@lru_cache(maxsize=4096)
def layout_of(template: ChatTemplate, roles: tuple[str, ...], add_generation_prompt: bool) -> Layout:
    """Return how the template lays out messages of these roles.

    Raises UnfitTemplateError when it raises, or does not show each of them exactly once, unchanged (but for space at its ends)
    and in order; a system message may stand anywhere.
    """
    plain = [_SENTINEL.format(i) for i in range(len(roles))]
    rendered = template.render([Message(*pair) for pair in zip(roles, plain, strict=True)], add_generation_prompt)
    for role, sentinel in zip(roles, plain, strict=True):
        if (times := rendered.count(sentinel)) != 1:
            how = f"repeats the {role}'s text" if times else f"rewrites or drops the {role}'s text"
            raise UnfitTemplateError(f"the chat template {how}: it must stand there once, as it was written")
    order = sorted(range(len(roles)), key=lambda i: rendered.index(plain[i]))
    if any(a > b for a, b in pairwise(i for i in order if roles[i] != "system")):
        raise UnfitTemplateError(
            "the chat template moves the user's or assistant's text: turns must stand in the order they were said"
        )
    literals, rest = [], rendered
    for i in order:
        literal, _, rest = rest.partition(plain[i])
        literals.append(literal)
    padded = [_LEFT + sentinel + _RIGHT for sentinel in plain]
    around = template.render([Message(*pair) for pair in zip(roles, padded, strict=True)], add_generation_prompt)
    slots = tuple(Slot(i, _LEFT + plain[i] not in around, plain[i] + _RIGHT not in around) for i in order)
    layout = Layout((*literals, rest), slots)
    if layout.fill(padded) != around:
        raise UnfitTemplateError("the chat template rewrites a text by what stands at its ends")
    return layout
