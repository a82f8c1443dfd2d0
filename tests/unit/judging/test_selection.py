import pytest
from hypothesis import given
from hypothesis import strategies as st

from rehearsal.api.reconstruction import Committee, Judging, Member, Reconstructed, SelfJudging
from rehearsal.api.serving import Model
from rehearsal.judging.jury import Jury
from rehearsal.judging.selection import Rule, Selected, select

BOTH_FIT = [[True], [True]]


def jury(judges=(0, 1), *, base=None, own=SelfJudging.INCLUDE, least=1):
    return Jury(judges=judges, base=base, self_judging=own, min_judges=least)


def test_the_highest_mean_wins():
    assert select(jury(), [[[3], [5]], [[4], [4]]], BOTH_FIT) == Selected(1, 0, 4.5, 4.0, 2, Rule.MEAN)


def test_a_missing_verdict_is_left_out_of_the_mean_and_is_not_zero():
    assert select(jury(), [[[4], [None]], [[4], [5]]], BOTH_FIT) == Selected(1, 0, 5.0, 5.0, 1, Rule.MEAN)


def test_equal_means_are_decided_by_the_lowest_verdict():
    assert select(jury(), [[[3], [4]], [[5], [4]]], BOTH_FIT) == Selected(1, 0, 4.0, 4.0, 2, Rule.MINIMUM)


def test_equal_scores_are_decided_for_the_base_model():
    won = select(jury(base=1), [[[4], [4]], [[4], [4]]], BOTH_FIT)
    assert (won.member, won.decided_by) == (1, Rule.BASE)


def test_without_the_base_model_the_committees_order_decides():
    won = select(jury(), [[[4], [4]], [[4], [4]]], BOTH_FIT)
    assert (won.member, won.decided_by) == (0, Rule.MEMBER)


def test_between_a_members_own_answers_the_first_wins():
    won = select(jury((0,)), [[[4, 4]]], [[True, True]])
    assert (won.sample, won.decided_by) == (0, Rule.SAMPLE)


def test_an_only_candidate_is_said_to_be_one():
    assert select(jury(), [[[2], [5]], [[2], [5]]], [[True], [False]]).decided_by is Rule.ONLY


def test_means_that_differ_only_in_the_order_of_addition_tie():
    thirds = [[[0.1 + 3], [0.3 + 3]], [[0.2 + 3], [0.2 + 3]], [[0.3 + 3], [0.1 + 3]]]
    assert select(jury((0, 1, 1)), thirds, BOTH_FIT).decided_by is Rule.MEMBER


@pytest.mark.fault(44)
@pytest.mark.fault(46)
def test_an_unfit_candidate_is_never_chosen_whatever_its_scores():
    assert select(jury(), [[[1], [5]], [[1], [5]]], [[True], [False]]).member == 0


def test_a_candidate_needs_enough_verdicts():
    assert select(jury(least=2), [[[3], [5]], [[3], [None]]], BOTH_FIT).member == 0


@pytest.mark.fault(55)
def test_nothing_is_selected_where_every_judge_abstains():
    assert select(jury(), [[[None], [None]], [[None], [None]]], BOTH_FIT) is None


def test_self_judging_counts_unless_it_is_excluded():
    flattered = [[[5], [3]], [[1], [3]]]
    assert select(jury(), flattered, BOTH_FIT) == Selected(1, 0, 3.0, 3.0, 2, Rule.MINIMUM)
    assert select(jury(own=SelfJudging.EXCLUDE), [[[5], [3]], [[4], [1]]], BOTH_FIT) == Selected(0, 0, 4.0, 4.0, 1, Rule.MEAN)


def test_a_jury_knows_its_members_by_their_place_in_the_committee():
    members = [Member(name="strong", model=Model(uri="store://models/strong")), Member(name="base", base=True)]
    made = Reconstructed(committee=Committee(members=members), judging=Judging(judges=["base"]))
    assert Jury.of(made, [members[1]]) == jury((1,), base=1)


@given(st.data())
def test_the_order_in_which_judges_spoke_does_not_matter(data):
    grid = st.lists(st.lists(st.sampled_from([None, 1, 2, 3, 4, 5]), min_size=3, max_size=3), min_size=2, max_size=2)
    cube = data.draw(st.lists(grid, min_size=1, max_size=4))
    reordered = data.draw(st.permutations(cube))
    fit, panel = [[True] * 3] * 2, jury((0,) * len(cube), base=0)
    assert select(panel, cube, fit) == select(panel, reordered, fit)


def test_without_judges_the_only_answer_wins_unless_it_is_unfit():
    assert select(jury(()), [], [[True]]) == Selected(0, 0, None, None, 0, Rule.ONLY)
    assert select(jury(()), [], [[False]]) is None
