"""What only the folder store does, and how it is opened and refused."""

import errno
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from rehearsal.api.platform import FolderStore as FolderConfig
from rehearsal.api.platform import StoreConfig
from rehearsal.store import folder as folder_module
from rehearsal.store.filesystem import reading, writing
from rehearsal.store.folder import FolderStore
from rehearsal.store.objects import Denied, NotFound, StoreError
from rehearsal.store.open import ABANDONED_SECONDS, open_store

NOBODY = 65534


def config(path: Path) -> StoreConfig:
    return StoreConfig(folder=FolderConfig(path=str(path)))


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path / "store")


@pytest.fixture
def public():
    """A folder that any user can reach, unlike tmp_path."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@contextmanager
def as_a_user_without_rights():
    """File permissions do not hold for root: be nobody for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_missing_folder_is_made(tmp_path):
    store = open_store(config(tmp_path / "not/yet/there"))
    assert store.create("a", b"")
    assert list(store.list("")) == ["a"]


def test_opening_leaves_nothing_behind(tmp_path):
    open_store(config(tmp_path / "store"))
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []


def test_a_file_where_the_folder_should_be_is_denied(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(Denied, match="name another folder"):
            open_store(config(path))


def test_a_folder_that_cannot_be_written_is_denied_with_what_to_do(public):
    public.chmod(0o555)
    with (
        as_a_user_without_rights(),
        pytest.raises(Denied, match=f"cannot write {public}.*give user {os.geteuid()} the right to write"),
    ):
        open_store(config(public))
    public.chmod(0o755)


def test_an_object_that_cannot_be_read_is_denied_by_its_path(public):
    FolderStore(public).put("a", b"")
    (public / "a").chmod(0o000)
    with as_a_user_without_rights(), pytest.raises(Denied, match=f"cannot read {public / 'a'}"):
        FolderStore(public).get("a")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
@pytest.mark.fault(39)
def test_a_full_or_broken_disk_stays_what_it_is(tmp_path, code):
    for context in (reading("a", tmp_path), writing(tmp_path)):
        with pytest.raises(OSError, match="broken") as caught, context:
            raise OSError(code, "broken")
        assert caught.value.errno == code


def test_a_shared_folder_that_does_not_answer_may_be_asked_again(tmp_path):
    for context in (reading("a", tmp_path), writing(tmp_path)):
        with pytest.raises(StoreError), context:
            raise OSError(errno.ESTALE, "stale handle")


@pytest.mark.fault(39)
def test_a_disk_that_fills_up_leaves_no_part_of_an_object(tmp_path, store):
    def runs_out():
        yield b"x" * 100
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"), store._written(runs_out()):
        pass
    assert list((store.root / ".tmp").iterdir()) == []


def test_what_killed_writers_left_is_swept_after_a_day(tmp_path):
    left = tmp_path / ".tmp"
    left.mkdir()
    now = left.stat().st_mtime
    for name, age in (("old", ABANDONED_SECONDS + 60), ("young", ABANDONED_SECONDS - 600)):
        (left / name).write_text("")
        os.utime(left / name, (now - age, now - age))
    open_store(config(tmp_path))
    assert [path.name for path in left.iterdir()] == ["young"]


def test_the_stores_own_folders_are_no_keys(store):
    for key in (".tmp/x", ".checksums/x", ".tmp"):
        with pytest.raises(Denied):
            store.put(key, b"")
    store.put("a/.tmp/x", b"")
    assert list(store.list("")) == ["a/.tmp/x"]


def test_symlinks_inside_the_store_are_read_through(store):
    store.put("blobs/1", b"bytes")
    (store.root / "model").mkdir()
    (store.root / "model/weights").symlink_to("../blobs/1")
    assert store.get("model/weights") == b"bytes"
    assert list(store.list("model/")) == ["model/weights"]


def test_symlinks_that_lead_out_of_the_store_are_denied(tmp_path, store):
    (tmp_path / "secret").write_text("secret")
    store.put("a", b"")
    (store.root / "file").symlink_to(tmp_path / "secret")
    (store.root / "folder").symlink_to(tmp_path)
    for key in ("file", "folder/secret", "folder/new"):
        for operation in (store.get, store.stat, lambda key: store.put(key, b""), lambda key: store.create(key, b"")):
            with pytest.raises(Denied, match="symlink"):
                operation(key)
    with pytest.raises(Denied, match="symlink"):
        list(store.list("folder/"))
    assert (tmp_path / "secret").read_text() == "secret"
    assert not (tmp_path / "new").exists()


def test_a_key_below_an_object_is_denied_not_a_crash(store):
    store.put("a", b"")
    for write in (store.put, store.create):
        with pytest.raises(Denied, match="cannot write"):
            write("a/b", b"")
    with pytest.raises(NotFound):
        store.get("a/b")


def test_a_name_too_long_for_the_disk_is_denied_not_a_crash(store):
    with pytest.raises(Denied, match="too long"):
        store.put("x" * 300, b"")
    with pytest.raises(Denied, match="too long"):
        store.get("x" * 300)


def test_a_download_takes_no_space_where_hard_links_can_be_made(tmp_path, store):
    store.put("a", b"bytes")
    store.download("a", tmp_path / "local")
    assert (tmp_path / "local").samefile(store.root / "a")


def test_a_download_is_a_copy_where_hard_links_cannot_be_made(tmp_path, store, monkeypatch):
    def other_file_system(source, target):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    store.put("a", b"bytes")
    monkeypatch.setattr(folder_module.os, "link", other_file_system)
    store.download("a", tmp_path / "local")
    assert (tmp_path / "local").read_bytes() == b"bytes"
    assert not (tmp_path / "local").samefile(store.root / "a")


def test_objects_are_read_only(store):
    store.put("a", b"")
    assert (store.root / "a").stat().st_mode & 0o222 == 0


def test_a_checksum_is_not_computed_again_until_the_file_changes(tmp_path, store):
    file = store.root / "model"
    file.parent.mkdir()
    file.write_bytes(b"12345")
    before, known = store.stat("model"), file.stat()
    file.write_bytes(b"67890")
    os.utime(file, ns=(known.st_atime_ns, known.st_mtime_ns))
    assert FolderStore(store.root).stat("model") == before, "it was read again"
    os.utime(file, ns=(known.st_atime_ns, known.st_mtime_ns + 1))
    assert store.stat("model") != before


def test_an_upload_needs_no_second_reading_for_its_checksum(tmp_path, store):
    (tmp_path / "local").write_bytes(b"12345")
    store.upload("a", tmp_path / "local")
    (entry,) = (store.root / ".checksums").iterdir()
    entry.write_text("f" * 64)
    assert store.stat("a").sha256 == "f" * 64


@pytest.mark.parametrize("damage", ["", "no checksum", "f" * 63])
def test_a_damaged_note_of_a_checksum_is_ignored(store, damage):
    store.put("a", b"12345")
    before = store.stat("a")
    (entry,) = (store.root / ".checksums").iterdir()
    entry.write_text(damage)
    assert store.stat("a") == before
