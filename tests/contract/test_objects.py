"""What every object store must do. One suite for every adapter; an adapter joins by an entry in ADAPTERS."""

import hashlib
import multiprocessing
import threading
from collections.abc import Callable
from functools import partial
from multiprocessing.synchronize import Barrier

import pytest

from rehearsal.store.folder import FolderStore
from rehearsal.store.objects import Denied, NotFound, Objects, Stat
from rehearsal.store.s3 import S3Store
from tests.contract.s3_server import S3Server

Opener = Callable[[], Objects]
"""Opens the same store anew; survives pickling, so that another process can."""


def a_folder(request: pytest.FixtureRequest) -> Opener:
    return partial(FolderStore, request.getfixturevalue("tmp_path") / "store")


def a_bucket(request: pytest.FixtureRequest) -> Opener:
    server: S3Server = request.getfixturevalue("s3")
    return partial(S3Store, request.getfixturevalue("bucket"), "some/prefix", server.endpoint)


ADAPTERS: dict[str, Callable[[pytest.FixtureRequest], Opener]] = {"folder": a_folder, "s3": a_bucket}


@pytest.fixture(params=ADAPTERS)
def opener(request: pytest.FixtureRequest) -> Opener:
    return ADAPTERS[request.param](request)


@pytest.fixture
def store(opener: Opener) -> Objects:
    return opener()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_what_was_created_is_read_back(store):
    assert store.create("a/b.txt", b"bytes\0\xff")
    assert store.get("a/b.txt") == b"bytes\0\xff"


def test_the_start_of_an_object_is_read_and_no_more_than_there_is(store):
    store.put("a", b"0123456789")
    store.put("empty", b"")
    assert [store.start("a", size) for size in (0, 4, 10, 99)] == [b"", b"0123", b"0123456789", b"0123456789"]
    assert store.start("empty", 4) == b""
    with pytest.raises(NotFound):
        store.start("absent", 4)


def test_a_second_creation_changes_nothing_and_says_so(store):
    assert store.create("a", b"first")
    assert not store.create("a", b"second")
    assert store.get("a") == b"first"


def test_creation_does_not_replace_what_was_put(store):
    store.put("a", b"first")
    assert not store.create("a", b"second")
    assert store.get("a") == b"first"


def test_put_replaces(store):
    store.put("a", b"first")
    store.put("a", b"second")
    assert store.get("a") == b"second"


def test_an_empty_object_is_an_object(store):
    assert store.create("a", b"")
    assert not store.create("a", b"x")
    assert store.get("a") == b""
    assert store.stat("a") == Stat("a", 0, sha256(b""))


@pytest.mark.parametrize("read", ["get", "stat"])
def test_no_object_is_not_found(store, read):
    store.put("a/b", b"")
    for key in ("x", "a/x", "a", "a/b/c"):
        with pytest.raises(NotFound) as caught:
            getattr(store, read)(key)
        assert caught.value.key == key


def test_no_object_is_not_found_when_downloaded(store, tmp_path):
    with pytest.raises(NotFound):
        store.download("x", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_stat_gives_size_and_checksum_of_what_is_there_now(store):
    store.put("a", b"first")
    assert store.stat("a") == Stat("a", 5, sha256(b"first"))
    store.put("a", b"other")
    assert store.stat("a") == Stat("a", 5, sha256(b"other"))


def test_a_file_is_uploaded_and_its_checksum_returned(store, tmp_path):
    data = bytes(range(256)) * 20_000
    (tmp_path / "local").write_bytes(data)
    assert store.upload("big", tmp_path / "local") == sha256(data)
    assert store.get("big") == data
    assert store.stat("big") == Stat("big", len(data), sha256(data))


def test_what_is_uploaded_is_a_copy(store, tmp_path):
    (tmp_path / "local").write_bytes(b"before")
    store.upload("a", tmp_path / "local")
    (tmp_path / "local").write_bytes(b"after")
    assert store.get("a") == b"before"


def test_an_object_is_downloaded_over_whatever_was_there(store, tmp_path):
    store.put("a/b", b"bytes")
    for _ in range(2):
        assert store.download("a/b", tmp_path / "deep/er/local") == sha256(b"bytes")
        assert (tmp_path / "deep/er/local").read_bytes() == b"bytes"


def test_a_download_keeps_its_bytes_when_the_object_is_replaced(store, tmp_path):
    store.put("a", b"before")
    store.download("a", tmp_path / "local")
    store.put("a", b"after")
    assert (tmp_path / "local").read_bytes() == b"before"


def test_keys_are_listed_in_the_order_of_their_characters(store):
    keys = ["a.txt", "a/b", "a/b.c", "a/b-c/d", "a/c", "a0", "b", "Z", "é"]
    for key in keys:
        store.put(key, b"")
    assert list(store.list("")) == sorted(keys)


def test_a_prefix_may_end_anywhere(store):
    for key in ("run/1/x", "run/10/x", "run/2/x", "runner", "other"):
        store.put(key, b"")
    assert list(store.list("run/1")) == ["run/1/x", "run/10/x"]
    assert list(store.list("run/1/")) == ["run/1/x"]
    assert list(store.list("run")) == ["run/1/x", "run/10/x", "run/2/x", "runner"]
    assert list(store.list("run/1/x")) == ["run/1/x"]
    assert list(store.list("nowhere/")) == []
    assert list(store.list("runner/")) == []


def test_only_objects_are_listed(store, tmp_path):
    (tmp_path / "local").write_bytes(b"bytes")
    store.upload("a", tmp_path / "local")
    store.create("b", b"bytes")
    store.stat("b")
    assert list(store.list("")) == ["a", "b"]


@pytest.mark.parametrize(
    "key", ["", ".", "..", "/etc/passwd", "../x", "a/../../x", "a/./b", "a//b", "a/", "a\0b", "a\nb", "\ud800"]
)
def test_what_is_not_a_key_is_denied(store, tmp_path, key):
    (tmp_path / "local").write_bytes(b"")
    for operation in (
        lambda: store.get(key),
        lambda: store.create(key, b""),
        lambda: store.put(key, b""),
        lambda: store.upload(key, tmp_path / "local"),
        lambda: store.download(key, tmp_path / "other"),
        lambda: store.stat(key),
    ):
        with pytest.raises(Denied):
            operation()
    assert list(store.list("")) == []


@pytest.mark.parametrize("prefix", ["../", "/etc/", "a/../../", "a//"])
def test_no_listing_leads_out_of_the_store(store, prefix):
    with pytest.raises(Denied):
        list(store.list(prefix))


def race(opener: Opener, barrier: "Barrier | threading.Barrier", me: int, keys: list[str], won: Callable[[object], object]) -> None:
    store = opener()
    for key in keys:
        barrier.wait(240)
        if store.create(key, f"{me}".encode() * 10_000):
            won((key, me))


def assert_one_winner_each(store: Objects, keys: list[str], won: list[tuple[str, int]]) -> None:
    assert sorted(key for key, _ in won) == keys
    for key, me in won:
        assert store.get(key) == f"{me}".encode() * 10_000


@pytest.mark.fault(27)
def test_of_many_processes_that_create_the_same_object_exactly_one_does(opener, store):
    spawn = multiprocessing.get_context("spawn")
    keys, barrier, won = [f"k/{i:02d}" for i in range(25)], spawn.Barrier(6), spawn.Queue()
    racers = [spawn.Process(target=race, args=(opener, barrier, me, keys, won.put)) for me in range(6)]
    for racer in racers:
        racer.start()
    results = [won.get(timeout=240) for _ in keys]
    for racer in racers:
        racer.join(240)
    assert [racer.exitcode for racer in racers] == [0] * 6
    assert won.empty()
    assert_one_winner_each(store, keys, results)
    assert list(store.list("")) == keys


@pytest.mark.fault(27)
def test_of_many_threads_that_create_the_same_object_exactly_one_does(opener, store):
    keys, barrier, won = [f"k/{i:02d}" for i in range(25)], threading.Barrier(8), []
    racers = [threading.Thread(target=race, args=(opener, barrier, me, keys, won.append)) for me in range(8)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(240)
    assert_one_winner_each(store, keys, won)


def write_for_ever(opener: Opener, started: Callable[[], object]) -> None:
    store, turn = opener(), 0
    while True:
        turn += 1
        store.put("a", bytes([turn % 256]) * 500_000)
        store.create(f"b/{turn}", bytes([turn % 256]) * 500_000)
        if turn == 5:
            started()


@pytest.mark.fault(26)
def test_a_writer_killed_at_any_moment_leaves_whole_objects_only(opener, store):
    spawn = multiprocessing.get_context("spawn")
    started = spawn.Event()
    writers = [spawn.Process(target=write_for_ever, args=(opener, started.set)) for _ in range(2)]
    for writer in writers:
        writer.start()
    assert started.wait(240)
    for writer in writers:
        writer.kill()
        writer.join(240)
    keys = list(store.list(""))
    assert len(keys) > 5
    for key in keys:
        data = store.get(key)
        assert len(data) == 500_000
        assert len(set(data)) == 1
        assert store.stat(key).sha256 == sha256(data)
