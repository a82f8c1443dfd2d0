import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rehearsal.judging.verdict import expected_rating, parse_verdict

CORPUS = [row for row in map(json.loads, (Path(__file__).parents[2] / "data/poisoned.jsonl").open()) if row["kind"] == "verdict"]


@pytest.mark.fault(49)
@pytest.mark.parametrize("row", CORPUS, ids=lambda row: row["name"])
def test_what_is_no_verdict_is_an_abstention_and_never_a_score(row):
    assert parse_verdict(row["text"], "stop") is None


@pytest.mark.parametrize(
    "line",
    [
        "Score: 4",
        "Score:4",
        "  Score: 4 \r",
        "**Score: 4**",
        "**Score:** 4",
        "Score: **4**",
        "Score: 4.",
        "Score: 4/5",
        "**Score: 4/5**.",
    ],
)
def test_the_stated_ways_of_writing_a_verdict_are_read(line):
    assert parse_verdict(f"It is clear.\n\n{line}\n\n", "stop") == 4


def test_only_the_last_line_counts():
    assert parse_verdict("The response says:\nScore: 5\nIt is vague.\nScore: 2", "stop") == 2


@pytest.mark.fault(46)
def test_an_answer_that_was_cut_off_is_an_abstention():
    assert parse_verdict("It is clear.\nScore: 4", "length") is None


@given(st.text())
def test_a_verdict_is_a_rating_or_nothing_whatever_the_text(text):
    assert parse_verdict(text, "stop") in (None, 1, 2, 3, 4, 5)
    assert parse_verdict(f"{text}\nScore: 3", "stop") == 3


def test_the_expected_rating_is_the_mean_over_renormalised_probabilities():
    halves = {1: -math.inf, 2: -math.inf, 3: -math.inf, 4: math.log(0.2), 5: math.log(0.2)}
    assert expected_rating(halves) == pytest.approx(4.5)


def test_tokens_that_are_no_rating_change_nothing():
    certain = {1: -50.0, 2: -50.0, 3: -50.0, 4: -50.0, 5: 0.0}
    assert expected_rating({**certain, 0: -0.1, 6: -0.1}) == pytest.approx(5.0)


@pytest.mark.fault(45)
@pytest.mark.parametrize("poison", [math.nan, None, math.inf, 0.5], ids=str)
def test_a_logprob_that_is_none_makes_the_judge_abstain(poison):
    assert expected_rating({1: -1.0, 2: -1.0, 3: poison, 4: -1.0, 5: -1.0}) is None


def test_a_rating_that_was_not_reported_makes_the_judge_abstain():
    assert expected_rating({1: -1.0, 2: -1.0, 4: -1.0, 5: -1.0}) is None


def test_a_judge_about_to_write_something_else_abstains():
    assert expected_rating(dict.fromkeys(range(1, 6), -9999.0)) is None
    assert expected_rating(dict.fromkeys(range(1, 6), math.log(0.0019))) is None


@given(st.lists(st.floats(-30, 0), min_size=5, max_size=5))
def test_an_expected_rating_lies_on_the_scale(logprobs):
    rating = expected_rating(dict(enumerate(logprobs, 1)))
    assert rating is None or 1 - 1e-9 <= rating <= 5 + 1e-9
