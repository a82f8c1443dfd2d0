"""Text for people can be printed as it stands, wherever it comes from."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from rehearsal.outside.text import is_printable, shown


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("\x1b[2J\x1b]0;pwned\x07", "\\x1b[2J\\x1b]0;pwned\\x07"),
        ("gold\u202egnp.exe\u2066\u200f", "gold\\u202egnp.exe\\u2066\\u200f"),
        ("half \ud83d", "half \\ud83d"),
        ("one\ntwo\u2028three\x85\t\x00", "one\\ntwo\\u2028three\\x85\\t\\x00"),
        ("Überschrift 中文 👩\u200d💻 a\u00a0b", "Überschrift 中文 👩\u200d💻 a\u00a0b"),
        ("x" * 600, "x" * 499 + "…"),
        ("\x1b" * 600, ("\\x1b" * 600)[:499] + "…"),
    ],
)
def test_what_cannot_be_printed_is_written_as_an_escape(text: str, printed: str) -> None:
    assert shown(text) == printed


def test_line_feeds_stay_where_lines_are_wanted() -> None:
    assert shown("one\ntwo\r\x1b", lines=True) == "one\ntwo\\r\\x1b"


@given(st.text(st.characters(codec=None), max_size=50), st.integers(1, 60))
def test_whatever_the_text_it_is_valid_printable_and_short(text: str, most: int) -> None:
    printed = shown(text, most)
    assert len(printed) <= most
    assert is_printable(printed)
    assert "\x1b" not in printed
    Console(file=io.StringIO()).print(printed, markup=False)
    printed.encode()
