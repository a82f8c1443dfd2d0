"""A store, an artifact in it, a file to store, and the seal of a run that nothing disturbed."""

from pathlib import Path

import pytest

from rehearsal.store.commit import Artifact
from rehearsal.store.folder import FolderStore
from tests.unit.store.a_run import artifact_in, fresh_store, work


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
