"""YAML from outside: plain documents are read, all else is refused by line, and nothing that was read is quoted."""

import time
from contextlib import suppress

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rehearsal.outside.unreadable import Unreadable
from rehearsal.outside.yaml_text import MAX_BYTES, read_document, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("a: 1e-6\nb: 2024-07-26\nc: yes\nd: ~\ne: 'yes'\nf: 0x10\ng: 010\nh: -1_000\ni: .5\nj: 1:30",
         {"a": 1e-6, "b": "2024-07-26", "c": True, "d": None, "e": "yes", "f": 16, "g": 8, "h": -1000, "i": 0.5, "j": "1:30"}),
        ("- [1, {a: b}]\n- |\n  two\n  lines\n", [[1, {"a": "b"}], "two\nlines\n"]),
        ('{"json": "\\ud83d\\ude00", "is": ["yaml", true, null, 1.5]}', {"json": "😀", "is": ["yaml", True, None, 1.5]}),
        ("on: 1\n5: 2", {"on": 1, "5": 2}),
        ("\ufeffa: 1", {"a": 1}),
        ("version: 1.2.3\nneither: 0x\nnor: _1\nlow: 08", {"version": "1.2.3", "neither": "0x", "nor": "_1", "low": 8.0}),
    ],
)  # fmt: skip
def test_plain_documents_mean_what_kubectl_takes_them_for(text: str, value: object) -> None:
    assert read_yaml(text.encode()) == value


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: !!int abc", "line 1: has a tag"),
        ("a: 1\nb: !!float x", "line 2: has a tag"),
        ("a: !function evil.run", "line 1: has a tag"),
        ("a: ! x", "line 1: has a tag"),
        ("a: &x 1", "line 1: has an anchor"),
        ("a: 1\nb: *x", "line 2: has an anchor or alias"),
        ("a: 1\nb:\n  c: 1\n  c: 2", "line 4: has a key for the second time"),
        ("a: 1\n? " + "b" * 2000 + "\n: 1", "line 2: has a key of more than 1000 characters"),
        ("? [a]\n: 1", "line 1: has a list or mapping for a key"),
        ("[" * 3000, "line 1: is nested too deeply"),
        ("- " * 3000, "line 1: is nested too deeply"),
        ("{a: " * 3000, "line 1: is nested too deeply"),
        ("\n".join(" " * i + "a:" for i in range(300)), "line 51: is nested too deeply"),
        ("a: 1\nb: " + "9" * 5000, "line 2: holds a number that is too long; at most 100 digits are read"),
        ("a: 1e999", "line 1: holds a number that is too large"),
        ("a:\n- .inf", "line 2: holds NaN or infinity"),
        ('a: 1\nb: "\\ud83d"', "line 2: holds half of a surrogate pair"),
        ('a: 1\nb: "\\U00110000"', "line 2: is not YAML"),
        ('a: "\\UFFFFFFFF"', "line 1: is not YAML"),
        ("a: 1\nb: \x1b[2J", "line 2: holds a control character"),
        ("a: 1\n---\nb: 2", "line 2: begins a second document"),
        ("a: [1", "line 1: is not YAML: expected ',' or ']'"),
        ("a: 1\n\tb: 2", "line 2: is not YAML"),
        ("%YAML 9", "line 1: is not YAML"),
        ("a: " + "x" * MAX_BYTES, "is longer than 256 KiB"),
    ],
)
def test_all_else_is_refused_by_line(text: str, problem: str) -> None:
    with pytest.raises(Unreadable) as refused:
        read_yaml(text.encode())
    assert str(refused.value).startswith(problem)


@pytest.mark.parametrize(
    "text",
    ["hunter2: hunter2: {x", "- hunter2\nhunter2: 1", "!<hunter2", "a: *hunter2", "&hunter2 a: &hunter2 b", "%hunter2",
     "!hunter2!x a", '"hunter2', "'hunter2'hunter2", "a: !hunter2 b", "hunter2: 1\nhunter2: 2", "[hunter2", "hunter2: @hunter2"],
)  # fmt: skip
def test_no_error_quotes_what_was_read(text: str) -> None:
    with pytest.raises(Unreadable) as refused:
        read_yaml(text.encode())
    assert "hunter2" not in str(refused.value)


def test_a_field_that_is_written_twice_is_told_to_who_may_show_it() -> None:
    with pytest.raises(Unreadable) as refused:
        read_yaml(b"a:\n- {b: 1}\n- b: {c: 1}\n  b: 2\n")
    assert (refused.value.line, refused.value.twice) == (4, "a[1].b")


def test_every_field_has_its_line() -> None:
    document = read_document(b"\na:\n  b:\n  - x\n  - y: 1\n    y.z: 2\n")
    places = {"a": 2, "a.b": 3, "a.b[0]": 4, "a.b[1]": 5, "a.b[1].y": 5, "a.b[1].y.z": 6, "a.b[1].none": 5, "a.b[7].y": 3, "c": 1}
    assert {path: document.line(path) for path in places} == places


_PIECES = st.lists(
    st.sampled_from(
        ["a", ": ", "- ", "\n", "  ", "[", "]", "{", "}", ",", "? ", "&a ", "*a ", "!!int ", "! ", "|", ">", "'", '"', "\\", "#", "%",
         "---\n", "...\n", "<<", "~", "1", "0x", "e9", ".inf", "\t", "\x00", "\x85", "\u2028", "\ufeff", "é", "😀", "\\ud83d", "%TAG ! x\n"]
    ),
    max_size=40,
).map("".join)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(_PIECES | st.text(max_size=60) | st.binary(max_size=60))
def test_whatever_the_bytes_they_are_read_or_unreadable(text: str | bytes) -> None:
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    try:
        read_yaml(data)
    except Unreadable as error:
        assert "\n" not in str(error)


_PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1, max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(_PLAIN)
def test_what_a_dumper_writes_comes_back(value: object) -> None:
    dumper = yaml.SafeDumper
    dumper.ignore_aliases = lambda self, data: True  # type: ignore[method-assign]
    assert read_yaml(yaml.dump(value, Dumper=dumper).encode()) == value


@pytest.mark.parametrize("piece", ["[", "- - ", "{a: ", "'", "!", "? ", "x ", "# \n", "%", "\n", "a,", ": ", "- {}\n", "<<: 1\n"])
def test_the_longest_text_of_any_kind_takes_seconds_at_most(piece: str) -> None:
    started = time.process_time()
    with suppress(Unreadable):
        read_yaml((piece * (MAX_BYTES // len(piece)))[:MAX_BYTES].encode())
    assert time.process_time() - started < 20
