"""Rows as bytes: whatever text a model writes comes back, and equal rows are equal bytes."""

import hashlib
import json

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from rehearsal.store.rows import pack, unpack

TEXT = st.text(st.characters(exclude_categories=())).filter(lambda text: text == json.loads(json.dumps(text)))
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
ROWS = st.lists(st.dictionaries(TEXT, VALUE, max_size=4), max_size=6)


@given(ROWS)
def test_rows_come_back_as_they_were(rows):
    data, count = pack(rows)
    assert count == len(rows)
    assert list(unpack(data)) == rows


@given(ROWS)
def test_equal_rows_are_equal_bytes_in_whatever_order_their_fields_were_set(rows):
    turned = [dict(reversed(list(row.items()))) for row in rows]
    assert pack(iter(turned)) == pack(rows)


@pytest.mark.fault(47)
@pytest.mark.parametrize(
    "text", ["\0", "\u2028\u2029\x85\x0b\x0c\x1c", "\r\n", "\ud800", "a\udfffb", "\ufeff", "\N{GRINNING FACE}", "\uffff"]
)
def test_hostile_characters_neither_change_nor_split_a_line(text):
    data, _ = pack([{"text": text}, {text: "next"}])
    assert list(unpack(data)) == [{"text": text}, {text: "next"}]
    plain = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    assert plain.isascii()
    assert plain.count(b"\n") == len(plain.decode().splitlines()) == 2


@pytest.mark.fault(47)
def test_a_split_pair_of_surrogates_comes_back_as_its_character_and_stays_so():
    data, _ = pack([{"text": "\ud83d\ude00"}])
    (row,) = unpack(data)
    assert row == {"text": "\N{GRINNING FACE}"}
    assert pack([row])[0] == data


@pytest.mark.fault(45)
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_json_does_not_have_are_not_written(number):
    with pytest.raises(ValueError, match="not JSON compliant"):
        pack([{"logprob": number}])


def test_many_rows_are_read_one_by_one_and_whole():
    rows = [{"id": i, "tokens": list(range(i % 500))} for i in range(3000)]
    data, count = pack(rows)
    assert count == 3000
    assert list(unpack(data)) == rows
    assert list(unpack(pack([])[0])) == []


def test_the_bytes_are_those_of_the_first_release():
    data, _ = pack([{"b": 1, "a": "é"}])
    plain = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    assert plain == b'{"a":"\\u00e9","b":1}\n'
    assert hashlib.sha256(plain).hexdigest() == hashlib.sha256(b'{"a":"\\u00e9","b":1}\n').hexdigest()
