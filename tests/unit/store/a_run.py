"""One worker's whole run over a small stage of three shards and a file, and what must be sealed when it is over."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from hypothesis import settings

from rehearsal.store.commit import Artifact, Manifest
from rehearsal.store.folder import FolderStore
from rehearsal.store.objects import Objects
from tests.unit.store.faulty import Mortal

SHARDS = 3
IDS = [f"{shard}-{row}" for shard in range(SHARDS) for row in range(2)]
FACTS = {"model": "tiny", "loss": 1.0, "steps": 7}
MEMORY = Path("/dev/shm")  # noqa: S108 - a file system without a disk, where each fsync costs nothing
quick = settings(max_examples=30)


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
