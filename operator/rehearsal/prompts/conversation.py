"""A conversation as token ids: control tokens only from the template, contents only as ordinary tokens.

Between two control tokens the template's plain text and the content beside it are encoded together, so that benign text gets
the ids the model was trained on (`[INST]` and a word make one spaced word). Before an assistant's words there is a cut
where the generation prompt ends: what is trained is what is generated.
Not covered: a template that ends turns with a control token but opens them with plain text: content may spell the opening.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from itertools import pairwise

from rehearsal.prompts.chat import ChatTokenizer
from rehearsal.prompts.layout import Layout, Slot, layout_of
from rehearsal.prompts.template import ChatTemplate, Message, UnencodableError, UnfitTemplateError

MAX_OPENINGS = 100
"""Different texts before the answers of one conversation, as where a template numbers them: each costs a rendering."""


@dataclass(frozen=True)
class Turns:
    """An encoded conversation; `starts` is the place of the first token after the generation prompt, by assistant message."""

    messages: Sequence[Message]
    layout: Layout
    ids: list[int]
    starts: dict[int, int]


@dataclass(frozen=True)
class _Cut:
    """Before this an engine's prompt would end: no token may reach across."""

    message: int


def encode_conversation(tokenizer: ChatTokenizer, messages: Sequence[Message], add_generation_prompt: bool) -> list[int]:
    """Return a conversation's ids as the template lays it out.

    A system text that the template has no place for goes in front of the first user turn, with a blank line after it.
    Raises UnencodableError when the template refuses, moves, repeats or rewrites a message, or a content cannot be encoded.
    """
    return encode_turns(tokenizer, messages, add_generation_prompt).ids


def encode_continuation(tokenizer: ChatTokenizer, text: str) -> list[int]:
    """Return the ids that go on from a generation prompt when the assistant's words begin with `text`.

    Space at the ends of `text` is lost where the template trims what an assistant says.
    """
    turns = encode_turns(tokenizer, [Message("user", "?"), Message("assistant", text)], add_generation_prompt=False)
    start = turns.starts[1]
    end = next((i for i in range(start, len(turns.ids)) if turns.ids[i] in tokenizer.control_ids), len(turns.ids))
    return turns.ids[start:end]


def encode_turns(
    tokenizer: ChatTokenizer,
    messages: Sequence[Message],
    add_generation_prompt: bool,
    check: Callable[[Sequence[str], Layout], None] | None = None,
) -> Turns:
    """Encode as `encode_conversation` does, and tell where each assistant turn begins.

    `check` may refuse the roles and their layout: what cannot be used need not be encoded.
    """
    messages = _with_system_placed(tokenizer.template, messages)
    roles = tuple(message.role for message in messages)
    layout = layout_of(tokenizer.template, roles, add_generation_prompt)
    if check:
        check(roles, layout)
    contents = [message.content for message in messages]
    for content in contents:
        _refuse_markup(tokenizer, content)
    _refuse_rewriting(tokenizer.template, layout, messages, add_generation_prompt)
    ids: list[int] = []
    starts: dict[int, int] = {}
    stretch: list[str | _Cut] = []
    for part in _parts(tokenizer, layout, roles, contents):
        if isinstance(part, int):
            _close_stretch(tokenizer, stretch, ids, starts)
            ids.append(part)
            stretch = []
        else:
            stretch.append(part)
    _close_stretch(tokenizer, stretch, ids, starts)
    return Turns(messages, layout, ids, starts)


def _with_system_placed(template: ChatTemplate, messages: Sequence[Message]) -> Sequence[Message]:
    if [message.role for message in messages[:2]] != ["system", "user"] or _has_place_for_system(template):
        return messages
    system, first, *others = messages
    return [replace(first, content=f"{system.content}\n\n{first.content}"), *others]


@lru_cache(maxsize=64)
def _has_place_for_system(template: ChatTemplate) -> bool:
    try:
        layout_of(template, ("system", "user"), True)
    except UnfitTemplateError:
        return False
    return True


def _refuse_rewriting(template: ChatTemplate, layout: Layout, messages: Sequence[Message], add_generation_prompt: bool) -> None:
    """The layout was found with sentinels; only the messages themselves show whether what they say changes it."""
    try:
        rendered = template.render(messages, add_generation_prompt)
    except UnfitTemplateError:
        # Its words may quote the message, and model text goes into no status and no log.
        raise UnfitTemplateError("the chat template refuses a message by what it says") from None
    if layout.fill([message.content for message in messages]) != rendered:
        raise UnfitTemplateError("the chat template rewrites a message by what it says")


def _refuse_markup(tokenizer: ChatTokenizer, content: str) -> None:
    markup = textual_markup(tokenizer)
    if not markup:
        return
    # Read back as well: a normalizer may turn a lookalike into the real thing.
    for text in (content, tokenizer.decode(tokenizer.encode_content(content))):
        if any(mark in text for mark in markup):
            raise UnencodableError("spells the turn marks of a template that has no control tokens for them")


@lru_cache(maxsize=64)
def textual_markup(tokenizer: ChatTokenizer) -> tuple[str, ...]:
    """Return what the template writes around turns if it changes turns without any control token; else nothing."""
    try:
        literals = layout_of(tokenizer.template, ("user", "assistant", "user", "assistant"), False).literals
    except UnfitTemplateError:
        return ()
    split = [tokenizer.split_controls(literal) for literal in literals]
    if all(any(isinstance(part, int) for part in parts) for parts in split[1:-1]):
        return ()
    return tuple(sorted({mark for parts in split for part in parts if isinstance(part, str) and (mark := part.strip())}))


def _parts(tokenizer: ChatTokenizer, layout: Layout, roles: tuple[str, ...], contents: Sequence[str]) -> Iterator[int | str | _Cut]:
    split = cache(tokenizer.split_controls)  # the same few texts stand between all turns
    cuts: dict[str, int] = {}
    for literal, slot in zip(layout.literals[:-1], layout.slots, strict=True):
        if roles[slot.message] == "assistant":
            if literal not in cuts:
                if len(cuts) == MAX_OPENINGS:
                    raise UnfitTemplateError(f"the chat template opens more than {MAX_OPENINGS} answers in ways of their own")
                cuts[literal] = _prompt_length(tokenizer.template, roles, slot, literal)
            yield from split(literal[: cuts[literal]])
            yield _Cut(slot.message)
            yield from split(literal[cuts[literal] :])
        else:
            yield from split(literal)
        yield slot.text(contents[slot.message])
    yield from split(layout.literals[-1])


def _prompt_length(template: ChatTemplate, roles: tuple[str, ...], slot: Slot, literal: str) -> int:
    """Return how much of `literal`, before an assistant's content, the generation prompt writes: all, or all but some space.

    It is asked once for each literal: where the text before an answer is the same, so is the prompt for it.
    """
    try:
        prompt = layout_of(template, roles[: slot.message], True).literals[-1]
    except UnfitTemplateError:
        return len(literal)
    return len(prompt) if literal.startswith(prompt) and not literal[len(prompt) :].strip() else len(literal)


def _close_stretch(tokenizer: ChatTokenizer, stretch: Sequence[str | _Cut], ids: list[int], starts: dict[int, int]) -> None:
    """Encode the plain text between two control tokens, append it to `ids`, and note where its cuts fell."""
    pieces, owners = [""], []
    for part in stretch:
        if isinstance(part, _Cut):
            pieces.append("")
            owners.append(part.message)
        else:
            pieces[-1] += part
    encoded = _encode_pieces(tokenizer, pieces, at_start=not ids)
    ids += encoded[0]
    for owner, piece_ids in zip(owners, encoded[1:], strict=True):
        starts[owner] = len(ids)
        ids += piece_ids


def _encode_pieces(tokenizer: ChatTokenizer, pieces: list[str], at_start: bool) -> list[list[int]]:
    """Encode the pieces as one text if the tokens part where the pieces do, else each on its own."""
    heads = [tokenizer.encode_content("".join(pieces[: i + 1]), at_start) for i in range(len(pieces))]
    whole = heads[-1]
    if all(whole[: len(head)] == head for head in heads):
        ends = [0, *map(len, heads)]
        return [whole[a:b] for a, b in pairwise(ends)]
    return [tokenizer.encode_content(piece, at_start and not i) if piece else [] for i, piece in enumerate(pieces)]
