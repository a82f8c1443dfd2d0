import pickle
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rehearsal.judging.agreement import Agreement, Unit, units

# The worked example with missing data of Krippendorff, "Computing Krippendorff's Alpha-Reliability", 2011, section D and E:
# four observers, twelve units.
EXAMPLE = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]


def judged(*rows, member=0):
    return [Unit(member, scores) for scores in rows]


def agreement(units_, judges):
    found = Agreement(judges)
    for unit in units_:
        found.add(unit)
    return found


def krippendorff_alpha(units_):
    return agreement(units_, range(len(units_[0].scores) if units_ else 0)).alpha()


def leanings(units_, judges):
    return agreement(units_, judges).leanings()


def test_alpha_is_krippendorffs_own_example():
    assert krippendorff_alpha(judged(*zip(*EXAMPLE, strict=True))) == pytest.approx(0.849, abs=5e-4)


def test_alpha_is_one_where_all_judges_agree():
    assert krippendorff_alpha(judged((1, 1), (5, 5), (3, 3))) == 1


def test_alpha_is_negative_where_judges_contradict_each_other():
    assert krippendorff_alpha(judged((1, 5), (5, 1))) < 0


@pytest.mark.parametrize("rows", [[], [(4, None)], [(4.1, 4.1), (4.1, 4.1)]], ids=["no unit", "no pair", "no variation"])
def test_alpha_is_undefined_where_there_is_nothing_to_compare(rows):
    assert krippendorff_alpha(judged(*rows)) is None


@given(st.lists(st.tuples(*[st.one_of(st.none(), st.integers(1, 5))] * 3), max_size=20))
def test_alpha_agrees_with_its_definition_by_pairs(rows):
    def pairs(scores):
        return [(a - b) ** 2 for i, a in enumerate(scores) for j, b in enumerate(scores) if i != j]

    paired = [given for row in rows if len(given := [s for s in row if s is not None]) > 1]
    everything = list(chain.from_iterable(paired))
    alpha = krippendorff_alpha(judged(*rows))
    if not sum(pairs(everything)):
        assert alpha is None
        return
    n = len(everything)
    observed = sum(sum(pairs(given)) / (len(given) - 1) for given in paired) / n
    assert alpha == pytest.approx(1 - observed / (sum(pairs(everything)) / (n * (n - 1))))


def test_a_judges_bias_is_its_mean_difference_to_the_others_on_the_same_candidates():
    strict, _, mild = leanings(judged((2, 3, 4), (3, 4, 5), (None, 1, None)), judges=(0, 1, 2))
    assert (strict.verdicts, strict.abstained, strict.mean) == (2, 1, 2.5)
    assert strict.bias == pytest.approx(-1.5)
    assert mild.bias == pytest.approx(1.5)


def test_self_preference_is_what_a_judge_sees_in_itself_and_the_others_do_not():
    own, foreign = judged((5, 3), (5, 3), member=0), judged((4, 3), (2, 3), member=1)
    vain, modest = leanings([*own, *foreign], judges=(0, 1))
    assert vain.self_preference == pytest.approx(2.0)
    assert vain.bias == pytest.approx(1.0)
    assert modest.self_preference == pytest.approx(2.0)


def test_a_better_members_own_high_scores_are_no_self_preference_where_the_others_share_them():
    best, _ = leanings([*judged((5, 5), member=0), *judged((2, 2), member=1)], judges=(0, 1))
    assert best.self_preference == 0


def test_a_judge_without_company_leans_nowhere():
    (alone,) = leanings(judged((4,), (5,)), judges=(0,))
    assert (alone.mean, alone.bias, alone.self_preference) == (4.5, None, None)


def test_a_million_units_take_no_more_room_than_two():
    """What select holds of the judges' scores does not grow with the rows."""
    few, many = agreement(judged((1, 2)), (0, 1)), agreement(judged((1, 2)) * 1000, (0, 1))
    assert (few.units, many.units) == (1, 1000)
    assert len(pickle.dumps(many)) < len(pickle.dumps(few)) + 50


def test_units_are_the_fit_candidates():
    assert list(units([[True, False], [True, True]], [[[1, 2], [3, None]], [[4, 5], [5, 5]]])) == [
        Unit(0, (1, 4)),
        Unit(1, (3, 5)),
        Unit(1, (None, 5)),
    ]
