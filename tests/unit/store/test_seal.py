"""What is sealed, what is not, and what a seal and its commits tell."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rehearsal.api.messages import CorruptInput, StageError
from rehearsal.store.objects import NotFound
from tests.unit.store.a_run import FACTS, artifact_in, deterministic, fresh_store, quick, work
from tests.unit.store.faulty import Observed


@pytest.mark.fault(35)
@quick
@given(committed=st.sets(st.integers(0, 4), max_size=4))
def test_a_partial_set_of_shards_is_never_sealed(committed):
    with fresh_store() as store:
        artifact = artifact_in(store)
        for shard in committed:
            artifact.commit_shard(shard, deterministic(shard))
        with pytest.raises(StageError, match=rf"of 5 shards, not committed: {min(set(range(5)) - committed)}"):
            artifact.seal(5)
        assert artifact.manifest() is None
        with pytest.raises(CorruptInput) as caught:
            list(artifact.rows())
        assert (caught.value.reason, caught.value.stage) == ("SealMissing", "respond-base")


@pytest.mark.fault(36)
@pytest.mark.parametrize("part", ["shard", "file"])
def test_nothing_is_sealed_that_is_not_there(store, artifact, local, part):
    commit = artifact.commit_shard(0, deterministic(0))
    file = artifact.add_file("weights.bin", local)
    (store.root / (commit if part == "shard" else file).key).unlink()
    with pytest.raises(CorruptInput, match=f"{part} .*: no object"):
        artifact.seal(1, [file])
    assert artifact.manifest() is None


def test_the_digest_is_that_of_the_stored_bytes(artifact, local, undisturbed):
    work(artifact, local)
    assert artifact.sealed().digest == hashlib.sha256(undisturbed).hexdigest()


def test_stored_bytes_leave_out_defaults_so_that_a_new_field_changes_no_old_digest(store, artifact):
    artifact.commit_shard(0, [])
    artifact.seal(1)
    assert json.loads(store.get(artifact.layout.commit(0))).keys() == {"index", "key", "sha256", "size", "rows"}
    assert json.loads(store.get(artifact.layout.manifest)).keys() == {"kind", "fingerprint", "shards"}


def test_a_seal_tells_facts_rows_and_refusals(artifact, local):
    work(artifact, local)
    sealed = artifact.sealed()
    assert {name: (fact, type(fact)) for name, fact in sealed.facts.items()} == {n: (f, type(f)) for n, f in FACTS.items()}
    assert (sealed.rows, sealed.refused) == (6, {"degenerate": 3})


def test_an_output_without_shards_is_sealed_by_its_files(artifact, local):
    assert artifact.seal(0, [artifact.add_file("a", local)]).rows == 0
    assert list(artifact.rows()) == []


def test_commits_are_told_by_index_up_to_a_number_and_nothing_else_is(store, artifact):
    for shard in (12, 3, 100_000):
        artifact.commit_shard(shard, deterministic(shard))
    store.put(f"{artifact.layout.shards}00004/data-{'0' * 64}.jsonl.zst", b"of a writer that was killed")
    store.put(f"{artifact.layout.shards}00004/attempt-1", b"")
    assert list(artifact.commits()) == [3, 12, 100_000]
    assert list(artifact.commits(12)) == [3]


def test_the_rows_of_a_shard_without_commit_are_not_to_be_had(artifact):
    with pytest.raises(CorruptInput, match="shard 7 of respond-base is not committed"):
        list(artifact.shard_rows(7))


def test_a_commit_removed_by_hand_after_it_was_listed_is_not_there(store, artifact):
    class Forgetful(Observed):
        def get(self, key: str) -> bytes:
            raise NotFound(key)

    artifact.commit_shard(0, deterministic(0))
    assert artifact_in(Forgetful(store)).commits() == {}
