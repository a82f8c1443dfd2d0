from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from rehearsal.api.reconstruction import SelfJudging
from rehearsal.judging.jury import Candidate, Jury, candidates
from rehearsal.judging.pruning import audited, outstanding
from rehearsal.judging.selection import select

SCORES = st.one_of(st.none(), st.integers(1, 5), st.floats(1, 5))
CROWDED = st.sampled_from([None, 4, 4, 5, 5, 5])


@st.composite
def trials(draw):
    """A jury, every verdict that its judges would give, and which candidates are fit."""
    members, samples = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    judges = sorted(draw(st.sets(st.integers(0, members - 1), min_size=1)))
    jury = Jury(
        judges=tuple(judges),
        base=draw(st.one_of(st.none(), st.integers(0, members - 1))),
        self_judging=draw(st.sampled_from(SelfJudging)),
        min_judges=draw(st.integers(1, len(judges))),
    )
    score = draw(st.sampled_from([SCORES, CROWDED, st.integers(1, 5)]))
    grid = st.lists(st.lists(score, min_size=samples, max_size=samples), min_size=members, max_size=members)
    full = draw(st.lists(grid, min_size=len(judges), max_size=len(judges)))
    fit = draw(st.lists(st.lists(st.booleans(), min_size=samples, max_size=samples), min_size=members, max_size=members))
    return jury, full, fit


def pruned(jury, full, fit):
    """The verdicts that are left when every judge scores only what is outstanding."""
    seen = []
    for judge, scores in enumerate(full):
        asked = set(outstanding(jury, judge, seen, fit))
        seen.append([[score if (m, s) in asked else None for s, score in enumerate(row)] for m, row in enumerate(scores)])
    return seen


def told(selected):
    """What is promised of a selection: all but which rule set it apart from a runner-up that was spared verdicts."""
    return selected and (selected.member, selected.sample, selected.mean, selected.minimum, selected.verdicts)


@settings(max_examples=400)
@given(trials())
def test_pruning_never_changes_the_selection(trial):
    jury, full, fit = trial
    assert told(select(jury, pruned(jury, full, fit), fit)) == told(select(jury, full, fit))


@settings(max_examples=100)
@given(trials())
def test_an_unfit_candidate_and_one_whose_verdict_does_not_count_are_never_judged(trial):
    jury, full, fit = trial
    for judge in range(len(full)):
        for candidate in outstanding(jury, judge, pruned(jury, full, fit)[:judge], fit):
            assert fit[candidate.member][candidate.sample]
            assert jury.counts(judge, candidate)


def committee(judges=3, own=SelfJudging.INCLUDE, least=1):
    return Jury(judges=tuple(range(judges)), base=0, self_judging=own, min_judges=least)


def test_the_first_judge_scores_every_candidate():
    fit = [[True, True], [True, False]]
    assert outstanding(committee(2), 0, [], fit) == list(candidates(fit))


def test_a_candidate_that_can_no_longer_reach_the_best_is_spared():
    verdicts = [[[5], [1], [4]], [[5], [1], [4]]]
    assert outstanding(committee(), 2, verdicts, [[True]] * 3) == [Candidate(0, 0), Candidate(2, 0)]


def test_an_equal_mean_is_spared_where_the_tie_is_decided():
    """The first judge may not score itself: its answer is done with one verdict to go for the others."""
    verdicts = [[[None], [5], [5]], [[5], [None], [5]]]
    jury = Jury(judges=(0, 1, 2), base=2, self_judging=SelfJudging.EXCLUDE, min_judges=1)
    assert outstanding(jury, 2, verdicts, [[True]] * 3) == []


def test_nothing_is_spared_while_no_candidate_is_sure_of_enough_verdicts():
    verdicts = [[[5], [1], [1]], [[None], [1], [1]]]
    assert len(outstanding(committee(least=2), 2, verdicts, [[True]] * 3)) == 3


def test_a_candidate_that_cannot_have_enough_verdicts_any_more_is_spared():
    verdicts = [[[None], [3], [3]], [[None], [3], [3]]]
    assert outstanding(committee(least=2), 2, verdicts, [[True]] * 3) == [Candidate(1, 0), Candidate(2, 0)]


def test_pruning_spares_a_seventh_of_a_committee_of_threes_verdicts():
    rng = Random(7)  # noqa: S311 - a sample of verdicts, seeded
    jury, fit, given_, all_ = committee(), [[True] * 3] * 3, 0, 0
    for _ in range(200):
        worth = [[rng.choice([1, 2, 4, 5]) for _ in range(3)] for _ in range(3)]
        full = [[[min(5, max(1, w + rng.choice([-1, 0, 0, 1]))) for w in row] for row in worth] for _ in range(3)]
        given_ += sum(score is not None for scores in pruned(jury, full, fit) for row in scores for score in row)
        all_ += 27
    assert given_ < 6 / 7 * all_


def test_the_audit_is_two_in_a_hundred_of_a_large_run():
    share = sum(audited(f"row-{i}", 0, 100_000) for i in range(100_000)) / 100_000
    assert 0.018 < share < 0.022


def test_a_small_run_is_audited_more_and_a_tiny_one_wholly():
    assert 70 < sum(audited(f"row-{i}", 0, 1000) for i in range(1000)) < 130
    assert all(audited(f"row-{i}", 0, 100) for i in range(100))


def test_the_audit_depends_on_the_seed_and_on_nothing_else():
    def drawn(seed):
        return [audited(f"row-{i}", seed, 1000) for i in range(1000)]

    assert drawn(1) == drawn(1) != drawn(2)
