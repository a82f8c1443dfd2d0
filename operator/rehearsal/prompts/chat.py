"""A tokenizer that keeps two kinds of text apart: the template's, which makes control tokens, and content, which never can.

Content that spells a control token becomes ordinary tokens. Markup that a template writes in ordinary tokens (the `[INST]`
of some models) is not seen here: `conversation` looks for it.
"""

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from rehearsal.api.messages import Refused
from rehearsal.outside.text import shown, without_quotes
from rehearsal.prompts.files import TokenizerFiles, read_tokenizer_files
from rehearsal.prompts.template import ChatTemplate, UnencodableError, UnfitTemplateError

# Stands where a control token stands, so that content is split and spaced as it is inside a conversation, not as at its start.
_ANCHOR = "\U0010fffdrehearsal\U0010fffd"


class ChatTokenizer:
    """A model's tokenizer and chat template. `control_ids` are the ids that content never becomes."""

    def __init__(self, files: TokenizerFiles) -> None:
        core = files.core | {"post_processor": None, "truncation": None, "padding": None}
        self._full = _build(core, files.declared)
        controls = frozenset(_control_texts(core, files.declared))
        self.control_ids = frozenset(id_ for text in controls if (id_ := self._full.token_to_id(text)) is not None)
        self._content = _build(_controls_as_special(core, controls), files.declared)
        self._content.encode_special_tokens = True
        self._content.add_tokens([AddedToken(_ANCHOR, special=False, normalized=False)])
        self.template = ChatTemplate(files.template, files.variables)

    @classmethod
    def load(cls, folder: Path) -> "ChatTokenizer":
        """Read `tokenizer.json`, `tokenizer_config.json` and the template of a model folder. Raises Refused, naming the file."""
        files = read_tokenizer_files(folder)
        try:
            return cls(files)
        except UnfitTemplateError as error:
            raise Refused(f"{folder}: {error}: mend chat_template", "TemplateInvalid") from error
        except Exception as error:  # tokenizers raises it bare when it cannot build from the file
            text = shown(without_quotes(" ".join(str(error).split())), 300)
            raise Refused(
                f"{folder / 'tokenizer.json'}: not a tokenizer ({text}): copy the file again", "TokenizerInvalid"
            ) from error

    def encode_content(self, text: str, at_start: bool = False) -> list[int]:
        """Return ids of text that somebody wrote, none of them a control id, as it stands inside a conversation.

        `at_start` is for the rare text with nothing before it. Raises UnencodableError where the vocabulary cannot say it
        without a control token (an unknown character, say), or the text is not valid Unicode.
        """
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UnencodableError("holds half of a surrogate pair: not valid Unicode") from None
        if _ANCHOR in text:
            raise UnencodableError("holds the mark that this program sets before content")
        if at_start:
            ids = self._content.encode(text, add_special_tokens=False).ids
        else:
            ids = self._content.encode(_ANCHOR + text, add_special_tokens=False).ids[1:]
        if not self.control_ids.isdisjoint(ids):
            raise UnencodableError("holds text that this tokenizer can only write with a control token")
        return list(ids)

    def encode_template(self, text: str) -> list[tuple[int, int]]:
        """Return (id, end in the text) of each token of the template's own text: control tokens are recognised in it."""
        encoding = self._full.encode(text, add_special_tokens=False)
        return [(id_, end) for id_, (_, end) in zip(encoding.ids, encoding.offsets, strict=True)]

    def split_controls(self, text: str) -> list[int | str]:
        """Cut the template's own text at its control tokens: their ids, and the plain text between them."""
        encoding = self._full.encode(text, add_special_tokens=False)
        parts: list[int | str] = []
        done = 0
        for id_, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
            if id_ in self.control_ids:
                parts += [text[done:start], id_]
                done = end
        return [part for part in [*parts, text[done:]] if part != ""]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids; control tokens show as their text."""
        return self._full.decode(list(ids), skip_special_tokens=False)

    def decode_after(self, before: Sequence[int], ids: Sequence[int]) -> str:
        """Return the text that `ids` add to `before`: some tokenizers drop a leading space only at the very start."""
        return self.decode([*before, *ids])[len(self.decode(before)) :]

    def spaced_words(self, limit: int) -> list[str]:
        """Return the first words, by id, that the vocabulary holds with a space before them as one token."""
        vocabulary = self._full.get_vocab()
        tokens = sorted(vocabulary, key=vocabulary.__getitem__)
        return list(islice((token[1:] for token in tokens if token[:1] in ("▁", "Ġ") and token[1:].isalpha()), limit))

    def normalised(self, text: str) -> str:
        """Return the text as the tokenizer's normalizer leaves it."""
        normalizer = self._full.normalizer
        return normalizer.normalize_str(text) if normalizer else text


def _build(core: dict[str, Any], declared: frozenset[str]) -> Tokenizer:
    tokenizer: Tokenizer = Tokenizer.from_str(json.dumps(core))
    added = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    known = sorted(text for text in declared - added if tokenizer.token_to_id(text) is not None)
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in known])
    return tokenizer


def _control_texts(core: dict[str, Any], declared: frozenset[str]) -> set[str]:
    """Special tokens, declared ones, and added ones that show: added runs of spaces or line ends are ordinary text."""
    added = {token["content"] for token in core.get("added_tokens", ()) if token["special"] or _shows(token["content"])}
    return added | {text for text in declared if _shows(text)}


def _shows(text: str) -> bool:
    return bool(text.replace("▁", " ").strip())


def _controls_as_special(core: dict[str, Any], controls: frozenset[str]) -> dict[str, Any]:
    """Flag exactly the control tokens special: `encode_special_tokens` then reads them as text, and no id moves."""
    return core | {"added_tokens": [token | {"special": token["content"] in controls} for token in core.get("added_tokens", ())]}
