"""The commit protocol under death, doubles and lost answers: each shard takes effect once, or not at all."""

import threading
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rehearsal.api.messages import CorruptInput, ExitCode
from rehearsal.store.commit import PAUSES
from rehearsal.store.objects import StoreError
from tests.unit.store.a_run import (
    artifact_in,
    assert_sealed,
    calls_of_a_whole_run,
    deterministic,
    fresh_store,
    quick,
    sampling,
    work,
)
from tests.unit.store.faulty import Interrupted, Killed, Mortal, Observed, TakingTurns, Turns, Unreliable


@pytest.mark.fault(26)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_worker_killed_at_any_store_call_is_finished_by_the_next_one(local, undisturbed, after):
    calls = calls_of_a_whole_run(local)
    assert calls > 20
    for k in range(calls):
        with fresh_store() as store:
            with pytest.raises(Killed):
                work(artifact_in(Mortal(store, k, after)), local)
            work(artifact_in(store), local)
            assert_sealed(store, undisturbed)


@pytest.mark.fault(26)
@quick
@given(deaths=st.lists(st.tuples(st.integers(0, 25), st.booleans()), max_size=8))
def test_however_often_workers_are_killed_every_row_takes_effect_once(local, deaths):
    draw, taken = sampling(), {}
    with fresh_store() as store:
        for k, after in deaths:
            with pytest.raises(Killed):
                work(artifact_in(Mortal(store, k, after)), local, draw)
                raise Killed
            now = artifact_in(store).commits()
            assert now.items() >= taken.items(), "a commit went away or changed"
            taken = now
        work(artifact_in(store), local, draw)
        assert_sealed(store)
        assert artifact_in(store).commits().items() >= taken.items()


def test_a_committed_shard_is_not_generated_again(artifact):
    def never():
        raise AssertionError("asked for rows")
        yield {}

    first = artifact.commit_shard(0, deterministic(0))
    assert artifact.commit_shard(0, never()) == first


def test_what_is_sealed_is_not_sealed_again(artifact, local, undisturbed):
    first = work(artifact, local)
    assert artifact.seal(9, (), {"other": 1}) == first
    assert artifact.objects.get(artifact.layout.manifest) == undisturbed


@pytest.mark.fault(27)
@pytest.mark.fault(30)
def test_a_second_worker_that_runs_between_any_two_calls_of_the_first_changes_nothing(local, undisturbed):
    for k in range(calls_of_a_whole_run(local)):
        with fresh_store() as store:
            seen = []
            other = artifact_in(store)
            first = artifact_in(Interrupted(store, k, lambda other=other, seen=seen: seen.append(work(other, local))))
            seen.append(work(first, local))
            assert seen[0] == seen[1]
            assert_sealed(store, undisturbed)


@pytest.mark.fault(27)
@quick
@given(schedule=st.lists(st.integers(0, 1), max_size=60))
def test_two_workers_in_any_interleaving_agree_on_one_output(local, schedule):
    draw, turns, results = sampling(), Turns(schedule), {}
    with fresh_store() as store:

        def run(me: int) -> None:
            try:
                results[me] = work(artifact_in(TakingTurns(store, turns, me)), local, draw)
            finally:
                turns.end(me)

        workers = [threading.Thread(target=run, args=(me,)) for me in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(120)
        assert results[0] == results[1]
        assert_sealed(store)


def test_the_loser_of_a_race_does_not_accept_a_winner_whose_rows_are_gone(store):
    def win_and_lose_the_rows():
        won = artifact_in(store).commit_shard(1, [{"id": "theirs"}])
        (store.root / won.key).unlink()

    calls_before_creation = 4  # get, put, stat, get
    loser = artifact_in(Interrupted(store, calls_before_creation, win_and_lose_the_rows))
    with pytest.raises(CorruptInput, match="shard 1: no object"):
        loser.commit_shard(1, [{"id": "ours"}])


@pytest.mark.fault(27)
def test_the_loser_of_the_race_to_seal_returns_the_winners_seal(store, artifact):
    won = []
    calls_before_creation = 2  # get, list
    loser = artifact_in(Interrupted(store, calls_before_creation, lambda: won.append(artifact.seal(0, (), {"by": "winner"}))))
    assert [loser.seal(0, (), {"by": "loser"})] == won
    assert artifact.sealed().facts == {"by": "winner"}


@pytest.mark.fault(28)
@pytest.mark.fault(31)
@quick
@given(fates=st.lists(st.sampled_from(["call lost", "answer lost", "well"]), max_size=12))
def test_lost_calls_and_lost_answers_are_told_apart_by_reading_again(local, undisturbed, fates):
    with fresh_store() as store:
        try:
            work(artifact_in(Unreliable(store, list(fates))), local)
        except StoreError as error:
            assert "call lost" in fates or "answer lost" in fates
            assert error.code == ExitCode.UNAVAILABLE
            work(artifact_in(store), local)
        assert_sealed(store, undisturbed)


@pytest.mark.fault(28)
def test_our_own_commit_found_after_a_lost_answer_is_success_without_a_second_try(store):
    pauses, unreliable = [], Unreliable(store, ["answer lost", "unused"])
    artifact = replace(artifact_in(unreliable), pause=pauses.append)
    commit = artifact.commit_shard(0, deterministic(0))
    assert artifact_in(store).commits() == {0: commit}
    assert pauses == [PAUSES[0]]
    assert unreliable.fates == ["unused"]


@pytest.mark.fault(29)
def test_a_store_that_stays_down_ends_the_worker_after_a_few_tries(store):
    pauses = []
    artifact = replace(artifact_in(Unreliable(store, ["call lost"] * 99)), pause=pauses.append)
    with pytest.raises(StoreError):
        artifact.commit_shard(0, deterministic(0))
    assert pauses == list(PAUSES)
    assert artifact.commits() == {}


def test_a_store_that_contradicts_itself_is_unavailable_not_a_crash(store):
    class Contradictory(Observed):
        def create(self, key: str, data: bytes) -> bool:
            return False

    with pytest.raises(StoreError, match="not there"):
        artifact_in(Contradictory(store)).commit_shard(0, deterministic(0))


def test_a_store_that_keeps_other_bytes_gets_no_commit(store):
    class Lossy(Observed):
        def put(self, key: str, data: bytes) -> None:
            self.objects.put(key, data[:-1])

    artifact = artifact_in(Lossy(store))
    with pytest.raises(StoreError, match="did not keep"):
        artifact.commit_shard(0, deterministic(0))
    assert artifact.commits() == {}
