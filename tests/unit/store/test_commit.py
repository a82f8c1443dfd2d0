"""The commit protocol under death, doubles, lost answers and damage: each shard takes effect once, or not at all."""

import hashlib
import json
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from faulty import Interrupted, Killed, Mortal, Observed, TakingTurns, Turns, Unreliable
from hypothesis import given, settings
from hypothesis import strategies as st

from rehearsal.api.messages import CorruptInput, ExitCode, StageError
from rehearsal.store.commit import PAUSES, Artifact, Manifest
from rehearsal.store.folder import FolderStore
from rehearsal.store.objects import NotFound, Objects, StoreError

SHARDS = 3
IDS = [f"{shard}-{row}" for shard in range(SHARDS) for row in range(2)]
FACTS = {"model": "tiny", "loss": 1.0, "steps": 7}
MEMORY = Path("/dev/shm")  # noqa: S108 - a file system without a disk, where each fsync costs nothing
quick = settings(deadline=None, max_examples=30)


def artifact_in(objects: Objects) -> Artifact:
    return Artifact(objects, "research", "respond", "f" * 64, "respond-base", pause=lambda _: None)


def deterministic(shard: int) -> Iterator[Mapping[str, object]]:
    for row in range(2):
        yield {"id": f"{shard}-{row}", "text": "the same each time"}


def sampling() -> Callable[[int], Iterator[Mapping[str, object]]]:
    """Rows that are never the same twice, as a model samples them."""
    draws = count()
    return lambda shard: iter([{"id": f"{shard}-{row}", "text": f"draw {next(draws)}"} for row in range(2)])


def work(artifact: Artifact, local: Path, rows: Callable[[int], Iterator[Mapping[str, object]]] = deterministic) -> Manifest:
    """What a worker does, from its start to its exit."""
    if sealed := artifact.manifest():
        return sealed
    committed = artifact.commits(SHARDS)
    for shard in range(SHARDS):
        if shard not in committed:
            artifact.commit_shard(shard, rows(shard), {"degenerate": shard})
    return artifact.seal(SHARDS, [artifact.add_file("model/weights.bin", local)], FACTS)


@contextmanager
def fresh_store() -> Iterator[FolderStore]:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        yield FolderStore(Path(folder))


@pytest.fixture
def store(tmp_path) -> FolderStore:
    return FolderStore(tmp_path / "store")


@pytest.fixture
def artifact(store) -> Artifact:
    return artifact_in(store)


@pytest.fixture(scope="module")
def local(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("local") / "weights.bin"
    path.write_bytes(b"weights" * 1000)
    return path


@pytest.fixture(scope="module")
def undisturbed(local) -> bytes:
    with fresh_store() as store:
        work(artifact_in(store), local)
        return store.get(artifact_in(store).layout.manifest)


def calls_of_a_whole_run(local: Path) -> int:
    with fresh_store() as store:
        counted = Mortal(store, k=-1, after=False)
        work(artifact_in(counted), local)
        return counted.calls


def assert_sealed(store: Objects, manifest: bytes | None = None) -> None:
    artifact = artifact_in(store)
    assert [row["id"] for row in artifact.rows()] == IDS
    assert artifact.sealed().refused == {"degenerate": 3}
    assert manifest is None or store.get(artifact.layout.manifest) == manifest


# Death


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


# Doubles


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
    draw, turns, results = sampling(), Turns(schedule, 2), {}
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


# Lost answers


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


# Damage


def damage(store: FolderStore, key: str, how: str, position: int = 0) -> None:
    data = store.get(key)
    position %= len(data)
    if how == "bit flipped":
        store.put(key, data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
    elif how == "truncated":
        store.put(key, data[:position])
    elif how == "replaced":
        store.put(key, store.get(artifact_in(store).commits()[0].key))
    else:
        (store.root / key).unlink()


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


# Seals


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


# Files


def test_files_come_back_under_their_paths(artifact, local, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    files = [artifact.add_file("model/weights.bin", local), artifact.add_file("model/config.json", tmp_path / "config.json")]
    artifact.seal(0, files)
    for _ in range(2):
        artifact.fetch_files(tmp_path / "into")
    assert (tmp_path / "into/model/weights.bin").read_bytes() == local.read_bytes()
    assert (tmp_path / "into/model/config.json").read_text() == "{}"


def test_a_file_that_is_stored_already_is_not_sent_again(store, artifact, local):
    class Sealed(Observed):
        def upload(self, key: str, path: Path) -> str:
            raise AssertionError("sent again")

    first = artifact.add_file("a", local)
    assert artifact_in(Sealed(store)).add_file("a", local) == first


def test_half_a_file_from_before_is_replaced(store, artifact, local):
    file = artifact.add_file("a", local)
    store.put(file.key, b"half")
    artifact.add_file("a", local)
    assert store.get(file.key) == local.read_bytes()


def test_a_file_that_changes_while_it_is_stored_is_not_taken(store, tmp_path):
    class Late(Observed):
        def upload(self, key: str, path: Path) -> str:
            path.write_bytes(b"after")
            return self.objects.upload(key, path)

    (tmp_path / "local").write_bytes(b"before")
    with pytest.raises(StoreError, match="changed"):
        artifact_in(Late(store)).add_file("a", tmp_path / "local")


@pytest.mark.fault(33)
@pytest.mark.fault(36)
@pytest.mark.parametrize("how", ["bit flipped", "truncated", "deleted"])
def test_a_damaged_file_is_not_left_for_anyone_to_use(store, artifact, local, tmp_path, how):
    sealed = work(artifact, local)
    damage(store, sealed.files[0].key, how, 99)
    with pytest.raises(CorruptInput, match=r"file model/weights\.bin") as caught:
        artifact.fetch_files(tmp_path / "into")
    assert caught.value.stage == "respond-base"
    assert not (tmp_path / "into/model/weights.bin").exists()


@pytest.mark.parametrize("path", ["../a", "/a", "a/../b", "a//b", "", "a/"])
def test_a_path_that_leads_elsewhere_is_no_path_of_an_output(store, artifact, local, path):
    with pytest.raises(ValueError, match="relative path"):
        artifact.add_file(path, local)
    assert list(store.list("")) == []


def test_no_file_is_brought_through_a_symlink_to_elsewhere(artifact, local, tmp_path):
    work(artifact, local)
    (tmp_path / "into").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "into/model").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CorruptInput, match="outside"):
        artifact.fetch_files(tmp_path / "into")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_commit_removed_by_hand_after_it_was_listed_is_not_there(store, artifact):
    class Forgetful(Observed):
        def get(self, key: str) -> bytes:
            raise NotFound(key)

    artifact.commit_shard(0, deterministic(0))
    assert artifact_in(Forgetful(store)).commits() == {}
