import random
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rehearsal.report.statistics import (
    Interval,
    Paired,
    Unpaired,
    difference_interval,
    mcnemar,
    mean_of,
    pair,
    wilson,
)


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718), (29, 29, 0.8830, 1.0)],
)
def test_wilson_gives_the_published_intervals_of_newcombe_1998(count, total, low, high):
    interval = wilson(count, total)
    assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


def test_wilson_of_nothing_seen_is_everything():
    assert wilson(0, 0) == Interval(0.0, 1.0)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_stays_a_share_and_mirrors(counts):
    count, total = counts
    interval, mirrored = wilson(count, total), wilson(total - count, total)
    assert 0 <= interval.low <= count / total <= interval.high <= 1
    assert interval.low == pytest.approx(1 - mirrored.high)


@pytest.mark.parametrize(
    ("lost", "gained", "p"),
    [(0, 0, 1.0), (1, 0, 1.0), (5, 5, 1.0), (5, 0, 2 / 32), (0, 10, 2 / 1024), (1, 9, 22 / 1024), (6, 16, 0.05248)],
)
def test_mcnemar_is_the_exact_binomial_test(lost, gained, p):
    assert mcnemar(lost, gained) == pytest.approx(p, abs=5e-6)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_twice_the_smaller_tail_and_does_not_care_which_model_came_first(lost, gained):
    n, smaller = lost + gained, min(lost, gained)
    assert mcnemar(lost, gained) == pytest.approx(min(1.0, 2 * sum(comb(n, i) for i in range(smaller + 1)) / 2**n))
    assert mcnemar(lost, gained) == mcnemar(gained, lost)


def test_mcnemar_of_thousands_of_changes_is_still_a_number():
    assert 0 <= mcnemar(9000, 8000) < 1e-10


def test_answers_are_matched_by_question_and_not_by_place():
    before = {"a": True, "b": True, "c": False, "d": False}
    after = {"d": True, "c": False, "b": False, "a": True}
    assert pair(before, after) == Paired(questions=4, before=2, after=2, lost=1, gained=1)


def test_questions_of_only_one_model_are_named():
    with pytest.raises(Unpaired, match="2 questions were answered by only one of the two models: q1, q3"):
        pair({"q1": True, "q2": True}, {"q2": True, "q3": False})


def test_no_questions_at_all_is_an_error_and_not_a_score():
    with pytest.raises(Unpaired, match="neither model answered"):
        pair({}, {})


@given(st.dictionaries(st.text(max_size=3), st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_lost_and_gained_account_for_the_whole_difference(answers):
    paired = pair({k: a for k, (a, _) in answers.items()}, {k: b for k, (_, b) in answers.items()})
    assert paired.before - paired.lost + paired.gained == paired.after
    assert paired.difference == pytest.approx((paired.after - paired.before) / paired.questions)


def test_a_bootstrap_is_the_same_every_time_and_leaves_the_global_generator_alone():
    task = Paired(questions=200, before=180, after=150, lost=40, gained=10)
    found = random.getstate()
    random.seed(1)
    first = difference_interval([task], seed=7)
    random.seed(2)
    state = random.getstate()
    assert difference_interval([task], seed=7) == first
    assert random.getstate() == state
    random.setstate(found)  # other tests draw ports from it


def test_a_bootstrap_comes_near_the_closed_form_of_a_paired_difference():
    task = Paired(questions=1000, before=900, after=800, lost=150, gained=50)
    deviation = ((150 + 50) / 1000 - 0.1**2) ** 0.5 / 1000**0.5
    interval = difference_interval([task], seed=0)
    assert interval.low == pytest.approx(-0.1 - 1.96 * deviation, abs=0.004)
    assert interval.high == pytest.approx(-0.1 + 1.96 * deviation, abs=0.004)


def test_where_no_answer_changed_the_difference_is_exactly_nothing():
    assert difference_interval([Paired(50, 30, 30, 0, 0)], seed=0) == Interval(0.0, 0.0)


def test_tasks_of_different_size_weigh_the_same():
    all_lost, unchanged = Paired(10, 10, 0, 10, 0), Paired(1000, 500, 500, 0, 0)
    assert difference_interval([all_lost, unchanged], seed=0) == Interval(-0.5, -0.5)


def test_the_mean_of_one_share_is_that_share():
    interval = wilson(8, 10)
    mean, around = mean_of([0.8], [interval])
    assert (mean, around.low, around.high) == pytest.approx((0.8, interval.low, interval.high))


def test_the_mean_of_equal_shares_is_surer_than_each_by_the_root_of_their_number():
    mean, around = mean_of([0.5] * 4, [Interval(0.4, 0.7)] * 4)
    assert (mean, around.low, around.high) == pytest.approx((0.5, 0.45, 0.6))
