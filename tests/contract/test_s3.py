"""What only S3 has: parts, checksums of its own, objects that others uploaded, prefixes, pages."""

import hashlib
import random

import pytest
from boto3.session import Session

from rehearsal.store.objects import StoreError
from rehearsal.store.s3 import S3Store

MIB = 1 << 20


@pytest.fixture
def large(tmp_path, small_parts):
    path = tmp_path / "large"
    path.write_bytes(random.Random(3).randbytes(12 * MIB + 1))  # noqa: S311 - the same each time
    return path


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def gets(proxy):
    return [call.path for call in proxy.calls if call.method == "GET"]


def test_a_file_in_parts_is_stored_checked_and_brought_back(store, proxy, large, tmp_path):
    assert store.upload("a/large", large) == sha256(large.read_bytes())
    assert len([call for call in proxy.calls if "partNumber=" in call.path]) == 3
    stat = store.stat("a/large")
    assert (stat.size, stat.sha256) == (12 * MIB + 1, sha256(large.read_bytes()))
    assert gets(proxy) == [], "nothing is read to know the checksum"
    store.download("a/large", tmp_path / "other")
    assert (tmp_path / "other").read_bytes() == large.read_bytes()
    assert store.get("a/large") == large.read_bytes()


def test_every_byte_that_is_sent_is_covered_by_a_checksum_that_the_server_compares(store, proxy, large):
    store.put("a", b"bytes")
    store.create("b", b"bytes")
    store.upload("c", large)
    sent = [call for call in proxy.calls if call.method == "PUT"]
    assert len(sent) == 5
    assert all("x-amz-checksum-sha256" in call.headers for call in sent)


def test_bytes_that_change_on_their_way_are_not_stored(store, proxy):
    def flipped(call):
        changed = type(call)(call.server, call.method, call.path, call.headers, b"other" + call.body[5:])
        return changed.without_precondition().answer()

    proxy.rule = flipped
    with pytest.raises(StoreError):
        store.put("a", b"bytes of ours")
    proxy.where(lambda _call: False, flipped)
    assert list(store.list("")) == []


def test_a_file_that_changes_while_it_is_sent_in_parts_is_not_stored(store, proxy, large):
    def edit(call):
        with large.open("r+b") as file:
            file.seek(-1, 2)
            file.write(b"!")
        return call.answer()

    proxy.where(lambda call: call.method == "POST", edit, times=1)
    with pytest.raises(StoreError, match="changed while it was stored"):
        store.upload("a", large)
    assert list(store.list("")) == []


@pytest.mark.parametrize("in_parts", [False, True])
def test_what_others_uploaded_is_read_once_for_its_checksum_until_it_changes(store, proxy, s3, bucket, large, in_parts):
    def upload(data: bytes) -> None:
        large.write_bytes(data)
        s3.client().upload_file(str(large), bucket, "model/weights", ExtraArgs={"ChecksumAlgorithm": "CRC32"})

    first = large.read_bytes() if in_parts else b"small"
    for data in (first, first[::-1]):
        upload(data)
        for _ in range(2):
            assert store.stat("model/weights").sha256 == sha256(data)
    reads = [path for path in gets(proxy) if path.endswith("model/weights")]
    assert len(reads) == (6 if in_parts else 2)
    assert list(store.list("")) == ["model/weights"]


def test_a_store_sees_nothing_outside_its_prefix(connect):
    inside, outside = connect("some/prefix/"), connect()
    for key in ("x", "some/prefixed", "some/prefix-2/x"):
        outside.put(key, b"")
    inside.put("a", b"bytes")
    assert list(inside.list("")) == ["a"]
    assert outside.get("some/prefix/a") == b"bytes"


def test_listings_go_on_over_pages(store, s3, bucket):
    keys = [f"k/{number:04d}" for number in range(2_001)]
    (s3.folder / bucket / "k").mkdir()
    for key in keys:
        (s3.folder / bucket / key).write_bytes(b"")
    assert list(store.list("k/")) == keys


def test_folders_that_a_console_makes_are_no_objects(store, s3, bucket):
    s3.client().put_object(Bucket=bucket, Key="folder/", Body=b"")
    store.put("folder/a", b"")
    assert list(store.list("")) == ["folder/a"]


def test_the_client_is_made_when_it_is_needed_and_once(store, monkeypatch):
    made, client = [], Session.client
    monkeypatch.setattr(Session, "client", lambda *args, **kwargs: made.append(1) or client(*args, **kwargs))
    S3Store("bucket")
    assert made == []
    for _ in range(3):
        store.put("a", b"")
    assert made == [1]
