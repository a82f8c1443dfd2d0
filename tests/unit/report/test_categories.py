import re
from collections import Counter

import pytest

import rehearsal.report.categories
from rehearsal.api.messages import ExitCode
from rehearsal.report.categories import BadCategories, classify, parse, shares_of

GOOD = b"""
- name: capital
  pattern: "^What is the capital of"
  share: 0.6
- {name: question, pattern: '\\?$', share: 0.3}
- {name: shouting, pattern: "^[A-Z ]+$"}
"""


def test_an_instruction_belongs_to_the_first_category_that_matches():
    texts = ["What is the capital of Peru?", "Why?", "GO AWAY", "hm", "\ud83d"]
    kinds = dict(classify(texts, parse(GOOD)))
    assert kinds == dict(zip(texts, ["capital", "question", "shouting", None, None], strict=True))


def test_more_instructions_than_go_at_once_keep_their_order():
    texts = [f"{'Why' if i % 3 else 'hm'} {i}?" for i in range(250)]
    kinds = list(classify(iter(texts), parse(b"[{name: why, pattern: ^Why}]")))
    assert [text for text, _ in kinds] == texts
    assert [name for _, name in kinds] == ["why" if i % 3 else None for i in range(250)]


def test_a_pattern_that_backtracks_without_end_is_named(monkeypatch):
    monkeypatch.setattr(rehearsal.report.categories, "SECONDS", 1)
    categories = parse(b"[{name: fine, pattern: b}, {name: slow, pattern: (a+)+$}]")
    with pytest.raises(BadCategories, match="category slow: its pattern took more than 1 s of processor time"):
        list(classify(["b", "a" * 64 + "c"], categories))


def test_shares_are_of_all_instructions_and_the_gap_is_the_biggest_against_the_truth():
    shares = shares_of(Counter({"capital": 50, "question": 35, None: 15}), parse(GOOD))
    assert [(row.name, row.elicited.share, row.true_share) for row in shares.categories] == [
        ("capital", 0.5, 0.6),
        ("question", 0.35, 0.3),
        ("shouting", 0.0, None),
    ]
    assert shares.other.count == 15
    assert shares.biggest_gap == pytest.approx(10.0)


def test_shares_of_no_instructions_say_nothing_with_certainty():
    shares = shares_of(Counter(), parse(GOOD))
    assert (shares.other.interval.low, shares.other.interval.high) == (0.0, 1.0)


def test_without_true_shares_there_is_no_gap():
    assert shares_of(Counter({"a": 1}), parse(b"[{name: a, pattern: a}]")).biggest_gap is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[", "the categories file: line 1: is not YAML"),
        ("\xff\xfe\x00".encode("latin-1"), "the categories file: line 1: is not UTF-8"),
        ("{}", "must be a list"),
        ("[]", "must be a list"),
        ("[capital]", "category 1: must be a mapping"),
        ("[{name: a}]", "category 1 (a): pattern must be a text"),
        ("[{pattern: a}]", "category 1: name must be a text"),
        ("[{name: ' ', pattern: a}]", "category 1 ( ): name must be a text"),
        ("[{name: a, pattern: a}, {name: b, pattern: '('}]", "category 2 (b): pattern is not a regular expression"),
        ("[{name: a, pattern: a, weight: 3}]", "category 1 (a): unknown field weight"),
        ("[{name: a, pattern: a, share: 1.5}]", "share must be a number from 0 to 1, not 1.5"),
        ("[{name: a, pattern: a, share: yes}]", "share must be a number from 0 to 1, not True"),
        ("[{name: a, pattern: a, share: .nan}]", "line 1: holds NaN"),
        ("[{name: a, pattern: a, share: !!float x}]", "line 1: has a tag"),
        ('[{name: "\\ud83d", pattern: a}]', "line 1: holds half of a surrogate pair"),
        ('[{name: "\\e[2J", pattern: a}]', "category 1 (\\x1b[2J): name holds characters that cannot be printed"),
        ('[{name: "\\u202e", pattern: a}]', "name holds characters that cannot be printed"),
        ("[{name: a, pattern: 'a{" + "9" * 900 + "}'}]", "pattern is not a regular expression"),
        ("[{name: a, pattern: 'a{" + "9" * 5000 + "}'}]", "pattern is longer than 1000 characters"),
        ("[{name: a, pattern: '" + "(" * 900 + ")" * 90 + "'}]", "pattern is not a regular expression"),
        ("[{name: a, pattern: a}, {name: a, pattern: b}]", "twice: a"),
        ("[{name: a, pattern: a, share: 0.7}, {name: b, pattern: b, share: 0.7}]", "sum to 1.4"),
        (f"[{{name: {'a' * 65}, pattern: a}}]", "longer than 64"),
        (str([{"name": f"n{i}", "pattern": "a"} for i in range(101)]), "has 101 entries"),
    ],
)
def test_a_wrong_entry_is_named_with_what_is_wrong(text, problem):
    with pytest.raises(BadCategories, match=re.escape(problem)) as caught:
        parse(text if isinstance(text, bytes) else text.encode())
    assert caught.value.code is ExitCode.REFUSED
    assert "\n" not in str(caught.value)
