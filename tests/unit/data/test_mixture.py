import tracemalloc
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rehearsal.api.messages import Refused
from rehearsal.api.run import Mixture, MixtureMode
from rehearsal.data.mixture import MixturePlan, Pick, Source, mixed, plan_mixture

FRACTIONS = st.integers(1, 99).map(lambda percent: percent / 100)
PINNED = [Pick(Source.DOMAIN, 2, 0), Pick(Source.REHEARSAL, 1, 0), Pick(Source.REHEARSAL, 2, 0), Pick(Source.DOMAIN, 1, 0)]


def picked(plan, seed="0"):
    return list(mixed(plan, seed))


def domain_rows(plan, seed="0"):
    return Counter(pick.index for pick in mixed(plan, seed) if pick.source is Source.DOMAIN)


def test_the_papers_rehearsal_rows_need_20482_domain_rows():
    plan = plan_mixture(100_000, 30_000, Mixture())
    assert (plan.rehearsal, plan.domain, plan.total) == (100_000, 20_482, 120_482)
    assert plan.domain_fraction == pytest.approx(0.17, abs=1e-5)


def test_a_total_is_split_by_the_fraction():
    assert plan_mixture(900, 900, Mixture(total_samples=1000)) == MixturePlan(830, 170, 900, 900)


def test_plain_concatenation_takes_both_sets_whole():
    assert plan_mixture(40, 7, Mixture(mode=MixtureMode.CONCATENATE)) == MixturePlan(40, 7, 40, 7)


@pytest.mark.parametrize("ignored", [{"total_samples": 10}, {"repeat_domain": True}])
def test_what_plain_concatenation_would_ignore_is_refused(ignored):
    with pytest.raises(ValueError, match="may only be set with the mode Proportion"):
        Mixture(mode=MixtureMode.CONCATENATE, **ignored)


def test_a_domain_shortfall_is_refused_with_the_arithmetic():
    with pytest.raises(Refused) as refused:
        plan_mixture(100_000, 800, Mixture())
    assert str(refused.value) == (
        "spec.mixture.domainFraction: a mix of 120,482 rows, 17 % of them domain rows, needs 20,482 domain rows, "
        "and there are 800: 19,682 too few; add rows, lower it, or set spec.mixture.repeatDomain"
    )


def test_a_rehearsal_shortfall_is_refused_with_the_arithmetic():
    with pytest.raises(
        Refused, match=r"totalSamples: a mix of 1,000 rows, 17 % .* needs 830 rehearsal rows, and there are 500; lower it"
    ):
        plan_mixture(500, 900, Mixture(total_samples=1000))


def test_declared_repeats_are_whole_passes_and_a_draw_for_the_rest():
    plan = plan_mixture(83, 5, Mixture(repeat_domain=True))
    assert (plan.domain, plan.domain_repeats, plan.domain_used) == (17, 12, 1.0)
    times = domain_rows(plan)
    assert sorted(times.values()) == [3, 3, 3, 4, 4]
    assert {pick.repeat for pick in picked(plan) if pick.source is Source.DOMAIN} == {0, 1, 2, 3}


def test_without_rehearsal_the_mix_is_the_domain_rows_each_once():
    plan = plan_mixture(None, 7, Mixture(repeat_domain=True))
    assert (plan.rehearsal, plan.domain, plan.domain_fraction) == (0, 7, 1.0)
    assert domain_rows(plan) == Counter(range(7))


def test_without_rehearsal_a_total_is_the_most_that_is_taken():
    assert plan_mixture(None, 7, Mixture(total_samples=5)).domain == 5
    assert plan_mixture(None, 7, Mixture(total_samples=50)).domain == 7


def test_a_control_learns_the_same_domain_rows():
    tuned = plan_mixture(83, 100, Mixture())
    control = plan_mixture(None, 100, Mixture(total_samples=tuned.domain))
    assert domain_rows(tuned) == domain_rows(control)


@pytest.mark.fault(55)
@pytest.mark.parametrize(("rehearsal", "domain"), [(0, 10), (10, 0), (None, 0)])
def test_an_empty_set_leaves_nothing_to_train(rehearsal, domain):
    with pytest.raises(Refused) as refused:
        plan_mixture(rehearsal, domain, Mixture())
    assert refused.value.reason == "NothingToTrain"


@given(st.integers(1, 10**7), FRACTIONS)
def test_the_share_of_domain_rows_is_right_to_within_one_row(rehearsal, fraction):
    plan = plan_mixture(rehearsal, 1, Mixture(domain_fraction=fraction, repeat_domain=True))
    assert plan.rehearsal == rehearsal
    assert plan.domain >= 1
    assert abs(plan.domain - Fraction(str(fraction)) * plan.total) < 1


@given(st.integers(1, 10**7), FRACTIONS)
def test_a_total_is_met_exactly_and_its_share_to_within_one_row(total, fraction):
    plan = plan_mixture(10**8, 1, Mixture(domain_fraction=fraction, total_samples=total, repeat_domain=True))
    assert plan.total == total
    assert plan.domain >= 1
    assert abs(plan.domain - Fraction(str(fraction)) * total) < 1


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 30), st.integers(1, 30), st.integers())
def test_a_mix_holds_what_was_planned_and_no_row_twice_but_declared_repeats(rehearsal, spare, domain, available, seed):
    plan = MixturePlan(rehearsal, domain, rehearsal + spare, available)
    picks = picked(plan, str(seed))
    counted = Counter(pick.source for pick in picks)
    assert (counted[Source.REHEARSAL], counted[Source.DOMAIN]) == (rehearsal, domain)
    assert len(set(picks)) == len(picks)
    assert all(0 <= pick.index < (available if pick.source is Source.DOMAIN else rehearsal + spare) for pick in picks)
    times = domain_rows(plan, str(seed))
    assert max(times.values(), default=0) - min(times[i] for i in range(available)) <= 1


def test_the_order_is_seeded_and_the_same_for_ever():
    plan = MixturePlan(2, 2, 3, 3)
    assert picked(plan) == PINNED
    assert len({tuple(picked(MixturePlan(9, 9, 9, 9), str(seed))) for seed in range(50)}) == 50


def test_an_order_takes_a_few_bytes_a_row():
    plan = MixturePlan(16_000, 4_000, 20_000, 20_000)
    tracemalloc.start()
    count = sum(1 for _ in mixed(plan, "0"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 20_000
    assert peak < 30 * count, "three orders of four bytes, and one that is being sorted"
