"""Large objects in parts: few under way, in order, nothing of the object left out."""

import threading
from functools import partial
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rehearsal.store.parts import LANES, MOST_PARTS, PART, in_lanes, part_size, ranges


@given(st.integers(0, 5 * 10**12))
def test_parts_cover_an_object_without_gap_and_are_not_too_many(size):
    parts = list(ranges(size))
    assert len(parts) <= MOST_PARTS
    assert [first for first, _ in parts] == [0, *(last + 1 for _, last in parts[:-1])][: len(parts)]
    assert sum(last - first + 1 for first, last in parts) == size


def test_parts_of_everyday_files_are_small():
    assert part_size(5 * 2**30) == PART
    assert part_size(PART * MOST_PARTS) == PART
    assert part_size(PART * MOST_PARTS + 1) == PART + 1


def test_results_come_in_the_order_of_their_calls():
    later = threading.Event()

    def first():
        assert later.wait(60)
        return 0

    def second():
        later.set()
        return 1

    assert list(in_lanes([first, second, *(partial(int, n) for n in range(2, 20))])) == list(range(20))


def test_no_more_calls_are_begun_than_there_are_lanes():
    taken, running, most, lock = [], 0, 0, threading.Lock()

    def call(number):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        with lock:
            running -= 1
        return number

    def calls():
        for number in range(50):
            taken.append(number)
            yield partial(call, number)

    for number in in_lanes(calls()):
        assert len(taken) <= number + LANES
    assert most <= LANES


def test_a_call_that_fails_ends_the_rest():
    begun = count()

    def call(number):
        next(begun)
        if number == 3:
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        list(in_lanes(partial(call, number) for number in range(1000)))
    assert next(begun) <= 3 + 2 * LANES


def test_a_reader_that_stops_waits_for_nothing_more():
    results = in_lanes(partial(int, number) for number in range(1000))
    assert next(results) == 0
    results.close()
