from collections import Counter
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rehearsal.data.steps import Step, plan_steps

PINNED = "a234c067e558f1933538609949620ab221a71709eaac425b4511a6875b9a47e2"


def plan(lengths, **changed):
    knobs = {"global_batch": 4, "ranks": 2, "sequence_length": 100, "epochs": 1, "packing": True, "seed": "0"}
    return plan_steps(lengths, **(knobs | changed))


def rows(step):
    return [row for packs in step.ranks for pack in packs for row in pack]


PLANS = {
    "lengths": st.lists(st.integers(1, 100), min_size=1, max_size=80),
    "global_batch": st.integers(1, 20),
    "ranks": st.integers(1, 5),
    "epochs": st.integers(1, 3),
    "packing": st.booleans(),
    "seed": st.text(max_size=3),
}


@given(**PLANS)
def test_every_row_is_seen_exactly_once_an_epoch(lengths, epochs, **knobs):
    seen = list(chain.from_iterable(map(rows, plan(lengths, epochs=epochs, **knobs).steps)))
    assert Counter(seen) == dict.fromkeys(range(len(lengths)), epochs)


@given(**PLANS)
def test_every_step_holds_exactly_the_global_batch_but_the_last(lengths, global_batch, **knobs):
    *full, last = (len(rows(step)) for step in plan(lengths, global_batch=global_batch, **knobs).steps)
    assert set(full) <= {global_batch}
    assert 0 < last <= global_batch


@given(**PLANS)
def test_no_pack_is_longer_than_the_sequence_and_without_packing_each_is_one_row(lengths, packing, **knobs):
    for step in plan(lengths, packing=packing, **knobs).steps:
        for pack in chain.from_iterable(step.ranks):
            assert sum(lengths[row] for row in pack) <= 100
            assert packing or len(pack) <= 1


@given(**PLANS)
def test_all_ranks_have_the_same_number_of_micro_steps(lengths, ranks, **knobs):
    for step in plan(lengths, ranks=ranks, **knobs).steps:
        assert len(step.ranks) == ranks
        assert {len(packs) for packs in step.ranks} == {step.micro_steps}
        assert any(packs[-1] for packs in step.ranks), "no micro-step is idle on every rank"


@given(**PLANS)
def test_no_rank_has_more_than_the_longest_row_above_the_least_loaded(lengths, packing, **knobs):
    for step in plan(lengths, packing=packing, **knobs).steps:
        loads = [sum(lengths[row] if packing else 1 for pack in packs for row in pack) for packs in step.ranks]
        assert max(loads) - min(loads) <= (max(lengths[row] for row in rows(step)) if packing else 1)


def test_the_papers_run_has_1883_steps():
    lengths = [200 + i * 7919 % 801 for i in range(120_482)]
    assert sum(lengths) / len(lengths) == pytest.approx(600, abs=1)
    papers = plan_steps(lengths, global_batch=64, ranks=8, sequence_length=4096, epochs=1, packing=True, seed="0")
    assert len(papers.steps) == 1883
    assert {len(rows(step)) for step in papers.steps[:-1]} == {64}
    assert max(step.micro_steps for step in papers.steps) <= 3


def test_rows_are_dealt_longest_first_and_packed_first_fit():
    (step,) = plan([60, 50, 40, 30, 20, 10], global_batch=6).steps
    assert step == Step((((0, 3), (4,)), ((1, 2, 5), ())))


def test_without_packing_rows_are_dealt_by_number_so_that_rows_of_like_length_meet():
    (step,) = plan([100, 10, 20, 90], packing=False).steps
    assert step == Step((((0,), (2,)), ((3,), (1,))))


def test_a_rank_without_rows_has_empty_packs():
    (step,) = plan([5], ranks=3).steps
    assert step.ranks == (((0,),), ((),), ((),))


def test_a_row_longer_than_a_pack_is_a_bug_of_the_mix():
    with pytest.raises(ValueError, match="longer than a pack"):
        plan([101])


def test_epochs_have_orders_of_their_own():
    first, second = plan([1] * 40, global_batch=40, epochs=2, ranks=1, sequence_length=1).steps
    assert set(rows(first)) == set(rows(second))
    batches = [set(rows(step)) for step in plan([1] * 40, global_batch=20, epochs=2).steps]
    assert batches[0] != batches[2]


def test_the_digest_tells_plans_apart_and_stays_the_same_for_ever():
    lengths = [60, 50, 40, 30, 20, 10]
    assert plan(lengths).digest == plan(lengths).digest == PINNED
    others = [plan(lengths, **changed).digest for changed in ({"seed": "1"}, {"ranks": 3}, {"packing": False}, {"global_batch": 3})]
    assert len({PINNED, *others}) == 5
