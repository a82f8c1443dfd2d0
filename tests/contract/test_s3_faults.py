"""The S3 adapter against a real server behind a proxy that does harm: what is lost, refused, cut off or contradicted."""

import random

import pytest
from botocore.retries.standard import ExponentialBackoff

from rehearsal.api.messages import ExitCode, Refused
from rehearsal.api.platform import S3Store as S3Config
from rehearsal.api.platform import StoreConfig
from rehearsal.store.objects import Denied, NotFound, StoreError
from rehearsal.store.open import open_store
from rehearsal.store.s3 import S3Store
from rehearsal.store.s3_connection import PATIENT
from rehearsal.worker.preflight import probe_store
from tests.contract.s3_faults import (
    Call,
    answer_lost,
    call_lost,
    conflict,
    cut_off,
    ignorant_of_preconditions,
    internal_error,
    refusal,
    slow_down,
    well,
)

MIB = 1 << 20
forever = 10**9


def some_bytes(size: int) -> bytes:
    return random.Random(size).randbytes(size)  # noqa: S311 - the same each time


def is_get(call: Call) -> bool:
    return call.method == "GET"


def creates(call: Call) -> bool:
    return call.creates


@pytest.mark.fault(28)
def test_a_creation_whose_answer_was_lost_knows_that_it_was_its_own(store, proxy):
    proxy.where(creates, answer_lost, times=1)
    assert store.create("a", b"ours")
    assert [call.method for call in proxy.calls] == ["PUT", "PUT", "HEAD"]
    assert store.get("a") == b"ours"


@pytest.mark.fault(28)
def test_a_creation_whose_every_answer_was_lost_is_unavailable_and_took_effect(store, proxy):
    proxy.where(creates, answer_lost)
    with pytest.raises(StoreError):
        store.create("a", b"ours")
    assert store.get("a") == b"ours"


@pytest.mark.fault(30)
def test_equal_bytes_of_somebody_else_are_not_taken_for_our_own_creation(store, connect, proxy):
    assert connect().create("a", b"same")
    proxy.where(creates, call_lost, times=1)
    assert not store.create("a", b"same")


@pytest.mark.fault(31)
def test_a_conflict_is_tried_again(store, proxy):
    proxy.where(creates, conflict, times=2)
    assert store.create("a", b"ours")


@pytest.mark.fault(31)
def test_a_conflict_that_somebody_else_won_is_a_lost_race(store, connect, proxy):
    def won_by_another(call: Call):
        proxy.rule = well
        connect().create("a", b"theirs")
        return conflict(call)

    proxy.where(creates, won_by_another, times=1)
    assert not store.create("a", b"ours")
    assert store.get("a") == b"theirs"


@pytest.mark.fault(31)
def test_a_conflict_without_end_is_unavailable(store, proxy):
    proxy.where(creates, conflict)
    with pytest.raises(StoreError, match="another writer"):
        store.create("a", b"")


@pytest.mark.fault(29)
@pytest.mark.parametrize("rule", [slow_down, internal_error, call_lost], ids=["503", "500", "call lost"])
def test_a_store_that_fails_twice_is_asked_a_third_time(store, proxy, tmp_path, rule):
    (tmp_path / "local").write_bytes(b"bytes")
    for ask in (
        lambda: store.put("a", b"bytes"),
        lambda: store.upload("b", tmp_path / "local"),
        lambda: store.create("c", b"bytes"),
        lambda: store.download("a", tmp_path / "other"),
        lambda: store.stat("b"),
    ):
        proxy.at(0, rule, times=2)
        ask()
    proxy.at(0, rule, times=2)
    assert store.get("c") == b"bytes"
    proxy.at(0, rule, times=2)
    assert list(store.list("")) == ["a", "b", "c"]


@pytest.mark.fault(29)
@pytest.mark.parametrize("rule", [slow_down, internal_error, call_lost], ids=["503", "500", "call lost"])
def test_a_store_that_goes_on_failing_is_unavailable_after_so_many_attempts(store, proxy, rule):
    proxy.at(0, rule, times=forever)
    for k, ask in enumerate([lambda: store.get("a"), lambda: store.put("a", b""), lambda: list(store.list("")), store.prepare]):
        with pytest.raises(StoreError) as caught:
            ask()
        assert caught.value.code == ExitCode.UNAVAILABLE
        assert len(proxy.calls) == 3 * (k + 1)


@pytest.mark.fault(29)
def test_the_back_off_of_one_request_ends_within_two_minutes(monkeypatch):
    monkeypatch.setattr(random, "random", lambda: 1.0)
    throttled = type("Throttled", (), {"is_throttling_error_from_context": lambda *_: True})()
    backoff = ExponentialBackoff(random=random.random, throttling_detector=throttled)
    contexts = [type("Context", (), {"attempt_number": n, "http_response": None}) for n in range(1, PATIENT.attempts)]
    assert 100 < sum(backoff.delay_amount(context) for context in contexts) < 120


@pytest.mark.parametrize("times", [1, 2])
def test_an_answer_that_breaks_off_is_read_again(store, proxy, tmp_path, times):
    store.put("a", b"bytes" * 100_000)
    proxy.where(is_get, cut_off, times)
    assert store.get("a") == b"bytes" * 100_000
    proxy.where(is_get, cut_off, times)
    store.download("a", tmp_path / "local")
    assert (tmp_path / "local").read_bytes() == b"bytes" * 100_000


def test_answers_that_always_break_off_leave_no_file(store, proxy, tmp_path):
    store.put("a", b"bytes" * 100_000)
    proxy.where(is_get, cut_off)
    with pytest.raises(StoreError, match="broke off"):
        store.get("a")
    (tmp_path / "local").write_bytes(b"before")
    with pytest.raises(StoreError, match="broke off"):
        store.download("a", tmp_path / "local")
    assert [path.name for path in tmp_path.iterdir()] == ["local"]
    assert (tmp_path / "local").read_bytes() == b"before"


def test_of_a_large_object_only_the_part_that_broke_off_is_read_again(small_parts, store, proxy, tmp_path):
    data = some_bytes(12 * MIB)
    (tmp_path / "local").write_bytes(data)
    store.upload("a", tmp_path / "local")
    proxy.calls.clear()
    proxy.where(lambda call: call.headers.get("Range", "").startswith(f"bytes={5 * MIB}-"), cut_off, times=1)
    store.download("a", tmp_path / "other")
    assert (tmp_path / "other").read_bytes() == data
    ranges = sorted(call.headers["Range"] for call in proxy.calls if is_get(call))
    assert len(ranges) == 4
    assert len(set(ranges)) == 3


@pytest.mark.parametrize("size", [5, 12 * MIB])
def test_an_object_that_is_replaced_while_it_is_read_is_no_mixture(small_parts, store, connect, proxy, tmp_path, size):
    (tmp_path / "local").write_bytes(bytes(12 * MIB))
    (tmp_path / "later").write_bytes(b"x" * size)
    store.upload("a", tmp_path / "local")

    def replaced(call: Call):
        proxy.rule = well
        connect().upload("a", tmp_path / "later")
        return call.answer()

    proxy.where(is_get, replaced, times=1)
    with pytest.raises(StoreError):
        store.download("a", tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("rule", [answer_lost, call_lost, slow_down], ids=["answer lost", "call lost", "503"])
def test_a_large_upload_outlives_a_fault_at_any_of_its_requests(small_parts, store, proxy, tmp_path, rule):
    data = some_bytes(6 * MIB)
    (tmp_path / "local").write_bytes(data)
    sha256 = store.upload("whole", tmp_path / "local")
    requests = len(proxy.calls)
    assert requests == 5  # create, two parts, complete, head
    for k in range(requests):
        proxy.at(k, rule)
        assert store.upload(f"a/{k}", tmp_path / "local") == sha256
        assert store.stat(f"a/{k}").size == len(data)
    proxy.rule = well
    assert store.get("a/3") == data


def test_an_upload_that_was_completed_although_the_answer_was_lost_is_success(small_parts, store, proxy, tmp_path):
    (tmp_path / "local").write_bytes(bytes(6 * MIB))
    fates = [answer_lost, refusal(404, "NoSuchUpload")]

    def completed(call: Call):
        return fates.pop(0)(call)

    proxy.where(lambda call: call.method == "POST" and "uploadId=" in call.path, completed, times=2)
    store.upload("a", tmp_path / "local")
    assert fates == []
    assert store.get("a") == bytes(6 * MIB)


def test_a_large_upload_that_fails_gives_its_parts_back(small_parts, store, proxy, s3, bucket, tmp_path):
    (tmp_path / "local").write_bytes(bytes(6 * MIB))
    proxy.where(lambda call: "partNumber=2" in call.path, internal_error)
    with pytest.raises(StoreError):
        store.upload("a", tmp_path / "local")
    assert "Uploads" not in s3.client().list_multipart_uploads(Bucket=bucket)
    with pytest.raises(NotFound):
        store.stat("a")


@pytest.mark.fault(32)
def test_preflight_accepts_a_server_that_creates_if_absent_again_and_again(store):
    probe_store(store, "research")
    probe_store(store, "research")


@pytest.mark.fault(32)
@pytest.mark.fault(28)
def test_preflight_is_not_misled_by_a_lost_answer(store, proxy):
    proxy.where(creates, answer_lost, times=1)
    probe_store(store, "research")


@pytest.mark.fault(32)
@pytest.mark.parametrize("before", [True, False])
def test_preflight_refuses_a_server_that_ignores_create_if_absent(store, proxy, before):
    if before:
        probe_store(store, "research")
    proxy.rule = ignorant_of_preconditions
    with pytest.raises(Refused, match="If-None-Match") as caught:
        probe_store(store, "research")
    assert caught.value.reason == "StoreUnsafe"


@pytest.mark.fault(32)
def test_a_server_that_does_not_know_create_if_absent_is_refused(store, proxy):
    proxy.where(creates, refusal(501, "NotImplemented"))
    with pytest.raises(Denied, match="If-None-Match"):
        probe_store(store, "research")


@pytest.mark.fault(38)
def test_a_bucket_that_is_not_there_is_named(proxy, connect):
    with pytest.raises(Denied, match=r"s3:ListBucket in bucket nowhere .NoSuchBucket.: create the bucket") as caught:
        open_store(StoreConfig(s3=S3Config(bucket="nowhere", endpoint=proxy.endpoint)))
    assert caught.value.code == ExitCode.REFUSED
    assert len(proxy.calls) == 1
    with pytest.raises(Denied, match="s3:PutObject in bucket nowhere"):
        S3Store("nowhere", endpoint=proxy.endpoint).create("a", b"")


@pytest.mark.fault(38)
def test_what_is_not_permitted_is_denied_by_bucket_and_action(s3, proxy, bucket, connect, monkeypatch, tmp_path):
    connect().put("a", b"")
    (tmp_path / "local").write_bytes(b"")
    stranger = s3.new_user("user")
    for name, value in stranger.environment.items():
        monkeypatch.setenv(name, value)
    store = connect()
    proxy.calls.clear()
    asked = {
        "s3:GetObject": [lambda: store.get("a"), lambda: store.stat("a"), lambda: store.download("a", tmp_path / "x")],
        "s3:PutObject": [
            lambda: store.put("a", b""),
            lambda: store.create("b", b""),
            lambda: store.upload("a", tmp_path / "local"),
        ],
        "s3:ListBucket": [store.prepare, lambda: list(store.list(""))],
    }
    for action, calls in asked.items():
        for ask in calls:
            with pytest.raises(Denied, match=f"{action} in bucket {bucket} .(AccessDenied|403).: grant it"):
                ask()
    assert len(proxy.calls) == 8, "what is denied is not asked twice"
