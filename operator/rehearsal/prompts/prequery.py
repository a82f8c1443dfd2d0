"""The pre-query: what stands before a user's words. A model that goes on from it writes what users say.

Its ids are those that do not depend on the words. `[INST] ` ends in a space that is no token of its own once a word follows:
the model never saw it alone, so it is left for the model to write, and taken off what it wrote.
"""

from dataclasses import dataclass
from itertools import takewhile

from rehearsal.api.messages import Refused
from rehearsal.prompts.chat import ChatTokenizer
from rehearsal.prompts.layout import layout_of
from rehearsal.prompts.template import Message, UnfitTemplateError
from rehearsal.prompts.turns import user_ends

# First words of different kinds: what a tokenizer merges with the text before them differs by kind. To these come words of
# its own vocabulary that it writes as one token with a space before them.
_SPACED_WORDS = 64
_WORDS = ("Quite so", "quite so", "7 of them", "«so»", "中文字")
_NEW_LINE = "\nquite so"


@dataclass(frozen=True)
class PreQuery:
    """`ids` are the prompt; `lead` is template text the model writes itself before the user's words.

    `user_end_ids` end the user's turn, and `trails` are the plain texts that the template puts before them.
    """

    ids: tuple[int, ...]
    lead: str
    user_end_ids: frozenset[int]
    trails: tuple[str, ...]


def derive_pre_query(tokenizer: ChatTokenizer, text: str | None = None) -> PreQuery:
    """Derive the pre-query from the chat template, or from `text`, the run's own wording of what precedes the user's words.

    Raises Refused when the template moves, repeats or rewrites the user's text, writes something before it that depends on
    it, or ends the user's turn without a control token.
    """
    ends = user_ends(tokenizer)
    # A written pre-query is taken at its word: only a token that a first word would change is left out.
    opening, words = (text, _WORDS) if text is not None else _before_user(tokenizer)
    words = (*words, *tokenizer.spaced_words(_SPACED_WORDS))
    encoded = [tokenizer.encode_template(opening + word) for word in words]
    stable = list(takewhile(lambda tokens: len(set(tokens)) == 1, zip(*encoded, strict=False)))
    if not stable:
        raise Refused(
            "the chat template writes nothing before the user's words that is a token of its own: "
            "set spec.rehearsal.reconstructed.preQuery.text",
            "NoPreQuery",
        )
    return PreQuery(
        ids=tuple(tokens[0][0] for tokens in stable),
        lead=opening[stable[-1][0][1] :],
        user_end_ids=frozenset(id_ for _, id_ in ends),
        trails=tuple(sorted({trail for trail, _ in ends if trail}, key=len, reverse=True)),
    )


def read_instruction(tokenizer: ChatTokenizer, pre_query: PreQuery, generated: tuple[int, ...] | list[int]) -> str | None:
    """Return the user's words in what the model wrote after the pre-query, up to the end of the turn if it got there.

    None when it did not write the template's own `lead` first: it has left the chat, and this is no user speaking.
    """
    said = list(takewhile(lambda id_: id_ not in pre_query.user_end_ids, generated))
    text = tokenizer.decode_after(pre_query.ids, said)
    if not text.startswith(pre_query.lead):
        return None
    text = text[len(pre_query.lead) :]
    if len(said) < len(generated):
        text = next((text.removesuffix(trail) for trail in pre_query.trails if text.endswith(trail)), text)
    return text


def _before_user(tokenizer: ChatTokenizer) -> tuple[str, tuple[str, ...]]:
    """Return the template's text before the user's words, and words to try; with a line end first if the template lets it stand."""
    template = tokenizer.template
    try:
        layout = layout_of(template, ("user",), True)
        layout_of(template, ("user", "assistant", "user"), True)
        words = _WORDS if layout.slots[0].trims_left else (*_WORDS, _NEW_LINE)
        rendered = {word: template.render([Message("user", word)], True) for word in words}
    except UnfitTemplateError as error:
        raise Refused(
            f"the pre-query cannot be derived: {error}; use a model whose template is a plain chat", "NoPreQuery"
        ) from error
    if any(text != layout.fill([word]) for word, text in rendered.items()):
        raise Refused(
            "the pre-query cannot be derived: what the chat template writes depends on the user's words; "
            "set spec.rehearsal.reconstructed.preQuery.text",
            "NoPreQuery",
        )
    return layout.literals[0], words
