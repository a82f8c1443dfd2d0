"""JSON from outside: every fault is one error with its line, and nothing that was read is quoted."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rehearsal.outside.json_text import read_json
from rehearsal.outside.unreadable import Unreadable


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "line 1: is not JSON"),
        ('{\n"a": hunter2', "line 2: is not JSON (column 6: expecting value)"),
        ("[" * 200_000, "line 1: is nested too deeply; at most 100 levels are read"),
        ('{"a":\n' * 200_000, "line 101: is nested too deeply"),
        ("\n".join(["["] * 101 + ["]"] * 101), "line 101: is nested too deeply"),
        ('[1,\n"1e999", 1e999]', "line 2: holds a number that is too large"),
        ("[1,\n" + "9" * 5000 + "]", "line 2: holds a number that is too long; at most 100 digits are read"),
        ('["NaN",\nNaN]', "line 2: holds NaN or Infinity"),
        ('{"a": 1,\n"b": "\\ud83d"}', "line 2: holds half of a surrogate pair"),
        ('{"\\udc00": 1}', "line 1: holds half of a surrogate pair"),
    ],
)
def test_every_fault_is_told_by_line(text: str, problem: str) -> None:
    with pytest.raises(Unreadable) as refused:
        read_json(text.encode())
    assert str(refused.value).startswith(problem)
    assert "hunter2" not in str(refused.value)


def test_bytes_that_are_no_text_and_too_many_bytes_are_refused() -> None:
    with pytest.raises(Unreadable, match=r"^line 2: is not UTF-8 at byte 7; save it as UTF-8$"):
        read_json(b'{\n"a": "\xff"}')
    with pytest.raises(Unreadable, match=r"^is longer than 1 KiB$"):
        read_json(b"[" + b"1," * 1000 + b"1]", most=1024)


def test_a_key_that_is_written_twice_is_refused_where_that_is_asked() -> None:
    text = b'{"a": {"b": [{"c": 1}, {"c": 2}]},\n"\\u0061": 2}'
    assert read_json(text) == {"a": 2}
    with pytest.raises(Unreadable, match=r"^line 2: has a key twice"):
        read_json(text, keys_once=True)


def test_what_a_caller_expects_can_be_let_pass() -> None:
    assert read_json(b"[0.0, Infinity]", constants=True) == [0.0, float("inf")]
    assert read_json(b'"\\ud83d"', halves=True) == "\ud83d"
    assert read_json(b'"\\ud83d\\ude00"') == "😀"
    assert read_json(b"1" + b"0" * 30) == 10**30


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None)
@given(_VALUES)
def test_what_was_written_comes_back(value: object) -> None:
    assert read_json(json.dumps(value).encode(), keys_once=True) == value


_PIECES = st.lists(
    st.sampled_from(
        ["{", "}", "[", "]", '"', '"a"', ":", ",", "1", "1e999", "NaN", "-", "\\", "\\ud83d", "\n", "\x00", "é", "9" * 200]
    ),
    max_size=30,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(_PIECES | st.text(max_size=40) | st.binary(max_size=40), st.booleans())
def test_whatever_the_bytes_they_are_read_or_unreadable(text: str | bytes, strict: bool) -> None:
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    try:
        read_json(data, keys_once=strict, constants=not strict)
    except Unreadable as error:
        assert "\n" not in str(error)
