import json
from pathlib import Path

import pytest

from rehearsal.api.messages import TooManyRefused
from rehearsal.api.reconstruction import Filters, Length
from rehearsal.data.filters import Intake, Output, Reason, unfit

CONTROL = frozenset({900, 901})
TEXTS = [row for row in map(json.loads, (Path(__file__).parents[2] / "data/poisoned.jsonl").open()) if row["kind"] == "text"]


def output(text="Name a city.", ids=(1, 2, 3, 4), finish="stop"):
    return Output(text, ids, finish)


def intake(earlier=(), **filters):
    return Intake(Filters(**filters), CONTROL, earlier)


@pytest.mark.parametrize(
    ("poison", "reason"),
    [
        pytest.param(output(finish="length"), Reason.TRUNCATED, marks=pytest.mark.fault(46)),
        pytest.param(output(finish="abort"), Reason.TRUNCATED),
        pytest.param(output("", ()), Reason.EMPTY, marks=pytest.mark.fault(44)),
        pytest.param(output(" \n\t\u3000", (5,)), Reason.DEGENERATE, marks=pytest.mark.fault(44)),
        pytest.param(output("!!!!", (7, 7, 7, 7)), Reason.DEGENERATE, marks=pytest.mark.fault(44)),
        pytest.param(output("!!!!!!!!", (77,)), Reason.DEGENERATE, marks=pytest.mark.fault(44)),
        pytest.param(output("the the the the the the the the", (1, *[2] * 7)), Reason.DEGENERATE, marks=pytest.mark.fault(44)),
        pytest.param(output(ids=(1, 900, 2)), Reason.CONTROL),
    ],
    ids=str,
)
def test_an_unfit_output_is_refused_for_its_reason(poison, reason):
    assert unfit(poison, CONTROL) is reason


@pytest.mark.parametrize("answer", ["1111", "!", "...", "aaaa", "no", "0"])
def test_a_short_answer_is_not_degenerate(answer):
    assert unfit(output(answer, tuple(range(len(answer)))), CONTROL) is None


@pytest.mark.parametrize("row", [pytest.param(row, id=row["name"], marks=pytest.mark.fault(row["fault"])) for row in TEXTS])
def test_strange_characters_and_the_spelling_of_control_tokens_are_ordinary_text(row):
    assert unfit(output(row["text"]), CONTROL) is None


def test_the_first_reason_counts():
    assert unfit(output("", (900,), "length"), CONTROL) is Reason.TRUNCATED


def test_lengths_are_bounds_in_tokens_both_included():
    taking = intake(length=Length(min=2, max=4))
    assert [taking.accepts(output(ids=tuple(range(n)))) for n in (1, 2, 4, 5)] == [False, True, True, False]
    assert taking.refused == {Reason.TOO_SHORT: 1, Reason.TOO_LONG: 1}


def test_duplicates_are_kept_unless_the_run_drops_them():
    keeping, dropping = intake(), intake(exact_duplicates=True)
    for taking in (keeping, dropping):
        for text in ("a", "a", "a ", "b"):
            taking.accepts(output(text))
    assert (keeping.accepted, keeping.refused) == (4, {})
    assert (dropping.accepted, dropping.refused) == (3, {Reason.DUPLICATE: 1})


def test_a_refused_row_is_no_original_of_a_later_one():
    taking = intake(exact_duplicates=True)
    assert not taking.accepts(output("a", finish="length"))
    assert taking.accepts(output("a"))


def test_what_an_earlier_round_accepted_is_an_original_where_duplicates_are_dropped():
    taking = intake(["a"], exact_duplicates=True)
    assert [taking.accepts(output(text)) for text in ("a", "b")] == [False, True]


@pytest.mark.parametrize("ids", [(1, *[2] * 6, 3), (3, 2, 2, 2, 2, 2, 2, 4), (1, 2) * 4], ids=str)
def test_one_other_token_makes_a_text_no_repetition(ids):
    assert unfit(output("the the the the", ids), CONTROL) is None


@pytest.mark.fault(44)
def test_too_many_unfit_rows_fail_the_stage_and_say_which():
    taking = intake(max_refused=0.5)
    taking.accepts(output())
    taking.check()
    for _ in range(2):
        taking.accepts(output("!!!!"))
    with pytest.raises(TooManyRefused, match=r"2 of 3 elicited instructions were unfit \(degenerate 2\)"):
        taking.check()


def test_duplicates_are_no_sign_of_a_broken_model():
    taking = intake(exact_duplicates=True, max_refused=0.1)
    for _ in range(100):
        taking.accepts(output())
    taking.check()
