"""Which tokens end a turn: the user's apart from the assistant's, since many templates end them differently."""

from rehearsal.api.messages import Refused
from rehearsal.prompts.chat import ChatTokenizer
from rehearsal.prompts.layout import layout_of
from rehearsal.prompts.template import UnfitTemplateError


def user_ends(tokenizer: ChatTokenizer) -> frozenset[tuple[str, int]]:
    """Return how a user's turn ends: (plain text the template writes first, control id after it), whoever speaks next.

    Raises Refused when no control token ends the turn, or the template does not lay out a plain conversation.
    """
    return frozenset({_end(tokenizer, ("user",), 0, True), _end(tokenizer, ("user", "assistant"), 0, False)})


def assistant_end_ids(tokenizer: ChatTokenizer) -> frozenset[int]:
    """Return the control ids that come first after an assistant's words. Raises Refused as `user_ends` does."""
    roles = ("user", "assistant", "user")
    return frozenset(_end(tokenizer, shown, 1, False)[1] for shown in (roles[:2], roles))


def _end(tokenizer: ChatTokenizer, roles: tuple[str, ...], message: int, add_generation_prompt: bool) -> tuple[str, int]:
    try:
        after = layout_of(tokenizer.template, roles, add_generation_prompt).after(message)
    except UnfitTemplateError as error:
        raise Refused(f"{error}; use a model whose template is a plain chat", "TemplateUnusable") from error
    before = ""
    for part in tokenizer.split_controls(after):
        if isinstance(part, int):
            return before, part
        before = part
    raise Refused(
        f"the chat template ends the {roles[message]}'s turn with the text {after[:40]!r}, not with a control token, so its end "
        "cannot be told from what is said: use a model whose tokenizer has a token for it",
        "NoEndOfTurn",
    )
