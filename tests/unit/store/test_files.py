"""Output files: stored once, brought back whole, and only to where they belong."""

from pathlib import Path

import pytest

from rehearsal.api.messages import CorruptInput
from rehearsal.store.objects import StoreError
from tests.unit.store.a_run import artifact_in, damage, work
from tests.unit.store.faulty import Observed


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
