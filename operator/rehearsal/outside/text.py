"""Text for people: what comes from outside, made valid, printable and short."""

import re
import unicodedata

LONGEST = 500
_QUOTED = re.compile(r"""\s*('[^']*'|"[^"]*"|`[^`]*`)""")
_NAMED = re.compile(r"""'(\W|<[a-z ]+>)'""")
"""What a parser expects: `','`, `'<block end>'`."""
_JOINERS = "\u200c\u200d"
"""Format characters that emoji and some scripts need; they neither move nor hide what stands beside them."""


def shown(text: str, most: int = LONGEST, lines: bool = False) -> str:
    r"""Return at most `most` characters of text that a terminal, a log or a page can print as it stands.

    Control, bidirectional and other format characters, line separators and halves of surrogate pairs are written as escapes
    (`\x1b`, `\u202e`). With `lines` line feeds stay. An ellipsis tells what was cut off.
    """
    head = "".join(_visible(char, lines) for char in text[: most + 1])
    return head if len(head) <= most else head[: max(0, most - 1)] + "…"


def without_quotes(text: str) -> str:
    """Return a parser's words without the pieces, in quotes, of what it read."""
    return _QUOTED.sub(lambda found: found.group() if _NAMED.fullmatch(found.group(1)) else "", text)


def is_printable(text: str) -> bool:
    """Tell whether `shown` would leave every character as it is."""
    return all(_visible(char, lines=False) == char for char in text)


def _visible(char: str, lines: bool) -> str:
    if char.isprintable() or char in _JOINERS or (lines and char == "\n"):
        return char
    if unicodedata.category(char) in ("Zs", "Co"):
        return char
    return char.encode("unicode_escape").decode("ascii")
