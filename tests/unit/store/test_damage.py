"""Damaged, replaced or missing objects: never read as if they were whole, and named."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rehearsal.api.messages import CorruptInput, ExitCode
from tests.unit.store.a_run import artifact_in, damage, deterministic, fresh_store, quick, work


@pytest.mark.fault(33)
@pytest.mark.fault(36)
@quick
@given(how=st.sampled_from(["bit flipped", "truncated", "replaced", "deleted"]), position=st.integers(0, 10_000))
def test_damaged_rows_are_never_seen_and_the_shard_is_named(local, how, position):
    with fresh_store() as store:
        artifact = artifact_in(store)
        damage(store, work(artifact, local).shards[1].key, how, position)
        seen = []
        with pytest.raises(CorruptInput, match=r"respond-base, shard 1: .*remove research/respond/f+/ .*run again") as caught:
            seen.extend(row["id"] for row in artifact.rows())
        assert caught.value.stage == "respond-base"
        assert caught.value.code == ExitCode.CORRUPT_INPUT
        assert seen == ["0-0", "0-1"]
        with pytest.raises(CorruptInput, match="shard 1"):
            list(artifact.shard_rows(1))
        assert [row["id"] for row in artifact.shard_rows(2)] == ["2-0", "2-1"]


@pytest.mark.fault(33)
@quick
@given(how=st.sampled_from(["bit flipped", "truncated"]), position=st.integers(0, 10_000))
def test_a_damaged_seal_is_no_seal(local, how, position):
    with fresh_store() as store:
        artifact = artifact_in(store)
        before = work(artifact, local)
        damage(store, artifact.layout.manifest, how, position)
        # A flipped bit in a figure still reads as a seal: its digest, which the ledger holds, is another one.
        try:
            assert artifact.sealed().digest != before.digest
        except CorruptInput as error:
            assert artifact.layout.manifest in str(error)
            assert error.stage == "respond-base"


@pytest.mark.fault(33)
@quick
@given(how=st.sampled_from(["bit flipped", "truncated"]), position=st.integers(0, 10_000))
def test_a_seal_that_is_not_the_recorded_one_is_not_read(local, how, position):
    with fresh_store() as store:
        recorded = work(artifact_in(store), local).digest
        artifact = replace(artifact_in(store), pinned=recorded)
        assert artifact.sealed().digest == recorded
        damage(store, artifact.layout.manifest, how, position)
        with pytest.raises(CorruptInput, match=r"manifest\.json is not the seal that was recorded") as caught:
            artifact.sealed()
        assert caught.value.stage == "respond-base"


@pytest.mark.fault(33)
@pytest.mark.parametrize("how", ["truncated", "replaced"])
def test_an_unreadable_commit_names_its_shard_and_key(store, artifact, how):
    for shard in range(2):
        artifact.commit_shard(shard, deterministic(shard))
    key = artifact.layout.commit(1)
    damage(store, key, how, 20)
    for use in (
        artifact.commits,
        lambda: artifact.seal(2),
        lambda: artifact.commit_shard(1, []),
        lambda: list(artifact.shard_rows(1)),
    ):
        with pytest.raises(CorruptInput, match=f"shard 1: {key} cannot be read"):
            use()


def test_a_commit_that_belongs_to_another_shard_is_refused(store, artifact):
    artifact.commit_shard(0, deterministic(0))
    store.put(artifact.layout.commit(1), store.get(artifact.layout.commit(0)))
    with pytest.raises(CorruptInput, match="another shard"):
        artifact.commits()


def test_the_seal_of_something_else_is_refused(store, artifact, local):
    work(artifact, local)
    other = replace(artifact, fingerprint="e" * 64)
    store.put(other.layout.manifest, store.get(artifact.layout.manifest))
    with pytest.raises(CorruptInput, match="something else"):
        other.sealed()


@pytest.mark.parametrize(
    "edit",
    [
        lambda seal: seal["shards"].pop(0),
        lambda seal: seal["shards"].append(seal["shards"][0]),
        lambda seal: seal["files"].append(seal["files"][0]),
        lambda seal: seal["shards"][0].update(key="research/secrets"),
        lambda seal: seal["files"][0].update(key="research/secrets"),
        lambda seal: seal["files"][0].update(path="../../home/.bashrc"),
        lambda seal: seal["files"][0].update(path="/etc/passwd"),
        lambda seal: seal.update(surplus=1),
        lambda seal: seal.update(facts={"loss": "NaN", "x": None}),
    ],
)
def test_an_edited_seal_is_refused_before_anything_is_read(store, artifact, local, tmp_path, edit):
    work(artifact, local)
    seal = json.loads(store.get(artifact.layout.manifest))
    edit(seal)
    store.put(artifact.layout.manifest, json.dumps(seal, sort_keys=True, separators=(",", ":")).encode())
    for use in (artifact.sealed, lambda: list(artifact.rows()), lambda: artifact.fetch_files(tmp_path / "into")):
        with pytest.raises(CorruptInput, match=r"manifest\.json"):
            use()


def test_a_seal_that_was_written_another_way_is_refused_because_its_digest_would_not_be_that_of_its_bytes(store, artifact, local):
    work(artifact, local)
    store.put(artifact.layout.manifest, store.get(artifact.layout.manifest) + b"\n")
    with pytest.raises(CorruptInput, match="edited since"):
        artifact.sealed()
