from hypothesis import given
from hypothesis import strategies as st

from rehearsal.data.draw import shuffled

PINNED = [6, 3, 1, 5, 2, 0, 7, 4]


@given(st.integers(0, 200), st.integers())
def test_an_order_holds_every_number_once(count, seed):
    assert sorted(shuffled(count, seed)) == list(range(count))


def test_an_order_is_the_same_for_ever():
    assert list(shuffled(8, 0, "epoch", 1)) == PINNED


def test_orders_of_other_seeds_differ():
    assert len({tuple(shuffled(20, 0, "epoch", epoch)) for epoch in range(50)}) == 50


def test_every_number_is_first_about_as_often():
    first = [shuffled(4, seed)[0] for seed in range(2000)]
    assert all(400 < first.count(i) < 600 for i in range(4))
