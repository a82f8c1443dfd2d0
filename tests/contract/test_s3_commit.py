"""The commit protocol on a real S3 server: one output, whatever happens at whichever request, and damage that is found."""

import threading

import pytest
from boto3.session import Session

from rehearsal.api.messages import CorruptInput
from rehearsal.store.objects import StoreError
from tests.contract.s3_faults import answer_lost, call_lost, conflict, cut_off, expired
from tests.unit.store.a_run import artifact_in, assert_sealed, calls_of_a_whole_run, fresh_store, sampling, work
from tests.unit.store.faulty import Interrupted, Killed, Mortal

FATES = {
    "call lost": call_lost,
    "answer lost": answer_lost,
    "409": conflict,
    "cut off": cut_off,
    "expired": expired,
}
APPLIES = {"409": lambda call: call.creates, "cut off": lambda call: call.method == "GET"}


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    path = tmp_path_factory.mktemp("local") / "weights.bin"
    path.write_bytes(b"weights" * 1000)
    return path


@pytest.fixture(scope="module")
def undisturbed(local):
    with fresh_store() as store:
        work(artifact_in(store), local)
        return store.get(artifact_in(store).layout.manifest)


@pytest.fixture(autouse=True)
def one_session(bucket, monkeypatch):
    """Clients are made by the hundred here, and most of the time it takes is a session's."""
    session = Session()
    monkeypatch.setattr("boto3.session.Session", lambda *user: Session(*user) if user else session)


@pytest.fixture
def requests(connect, proxy, local):
    """Those that a whole run makes, in order."""
    work(artifact_in(connect("recorded")), local)
    assert len(proxy.calls) > 20
    return list(proxy.calls)


@pytest.mark.fault(28)
@pytest.mark.fault(31)
@pytest.mark.fault(37)
@pytest.mark.parametrize("fate", FATES)
def test_one_fault_at_any_request_is_not_noticed(connect, proxy, local, undisturbed, requests, fate):
    met = [k for k, call in enumerate(requests) if APPLIES.get(fate, bool)(call)]
    assert len(met) >= 4
    for k in met:
        store = connect(f"run-{k}")
        proxy.at(k, FATES[fate])
        work(artifact_in(store), local)
        assert_sealed(store, undisturbed)


@pytest.mark.fault(26)
@pytest.mark.fault(28)
@pytest.mark.parametrize("fate", ["call lost", "answer lost"])
def test_a_worker_that_gives_up_at_any_request_is_finished_by_the_next_one(connect, proxy, local, undisturbed, requests, fate):
    gave_up = 0
    for k in range(len(requests)):
        store = connect(f"run-{k}", attempts=1)
        proxy.at(k, FATES[fate], times=20)
        try:
            work(artifact_in(store), local)
        except StoreError:
            gave_up += 1
        proxy.at(0, FATES[fate], times=0)
        work(artifact_in(store), local)
        assert_sealed(store, undisturbed)
    assert gave_up > len(requests) // 2


@pytest.mark.fault(26)
def test_a_worker_killed_at_any_store_call_is_finished_by_the_next_one(connect, local, undisturbed):
    for k in range(calls_of_a_whole_run(local)):
        store = connect(f"run-{k}")
        with pytest.raises(Killed):
            work(artifact_in(Mortal(store, k, after=True)), local)
        work(artifact_in(store), local)
        assert_sealed(store, undisturbed)


@pytest.mark.fault(27)
@pytest.mark.fault(30)
def test_a_second_worker_that_runs_between_any_two_calls_of_the_first_changes_nothing(connect, local):
    for k in range(calls_of_a_whole_run(local)):
        store, seen, draw = connect(f"run-{k}"), [], sampling()
        other = artifact_in(connect(f"run-{k}"))
        first = artifact_in(Interrupted(store, k, lambda other=other, seen=seen, draw=draw: seen.append(work(other, local, draw))))
        seen.append(work(first, local, draw))
        assert seen[0] == seen[1]
        assert_sealed(store)


@pytest.mark.fault(27)
def test_workers_side_by_side_agree_on_one_output(connect, local):
    draw, start, seals = sampling(), threading.Barrier(4), []

    def run() -> None:
        start.wait(240)
        seals.append(work(artifact_in(connect()), local, draw))

    workers = [threading.Thread(target=run) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(240)
    assert len(seals) == 4
    assert len({seal.digest for seal in seals}) == 1
    assert_sealed(connect())


@pytest.mark.fault(33)
@pytest.mark.parametrize("how", ["bit flipped", "truncated"])
def test_rows_damaged_in_the_bucket_are_never_seen_and_the_shard_is_named(store, s3, bucket, local, how):
    artifact = artifact_in(store)
    path = s3.folder / bucket / work(artifact, local).shards[1].key
    data = path.read_bytes()
    with path.open("r+b") as file:
        if how == "bit flipped":
            file.write(bytes([data[0] ^ 1]))
        else:
            file.truncate(len(data) // 2)
    seen = []
    with pytest.raises(CorruptInput, match=r"respond-base, shard 1: .* is not what was committed") as caught:
        seen.extend(row["id"] for row in artifact.rows())
    assert caught.value.stage == "respond-base"
    assert seen == ["0-0", "0-1"]


@pytest.mark.fault(33)
def test_a_file_damaged_in_the_bucket_does_not_arrive(store, s3, bucket, local, tmp_path):
    artifact = artifact_in(store)
    with (s3.folder / bucket / work(artifact, local).files[0].key).open("r+b") as file:
        file.write(b"W")
    with pytest.raises(CorruptInput, match="is not what was sealed"):
        artifact.fetch_files(tmp_path / "into")
    assert [path for path in (tmp_path / "into").rglob("*") if path.is_file()] == []


@pytest.mark.fault(36)
def test_a_sealed_object_that_is_gone_is_named(store, s3, bucket, local, tmp_path):
    artifact = artifact_in(store)
    manifest = work(artifact, local)
    for key in (manifest.shards[2].key, manifest.files[0].key):
        s3.client().delete_object(Bucket=bucket, Key=key)
    with pytest.raises(CorruptInput, match=f"shard 2: no object {manifest.shards[2].key}"):
        list(artifact.rows())
    with pytest.raises(CorruptInput, match=f"no object {manifest.files[0].key}"):
        artifact.fetch_files(tmp_path / "into")
