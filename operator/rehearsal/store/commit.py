"""The commit protocol: each shard of a stage's output takes effect once, and a sealed output never changes.

Write data, verify it, create the commit; when all shards are committed, create the manifest. Creation is the only step
with an effect, and the store lets exactly one writer do it: a writer that is killed, repeated or doubled changes nothing.
Not covered: someone who may write to the store and means harm.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rehearsal.api.messages import CorruptInput, StageError
from rehearsal.store.checksums import sha256_of
from rehearsal.store.keys import Layout
from rehearsal.store.manifest import Commit, File, Manifest, read
from rehearsal.store.objects import NotFound, Objects, StoreError
from rehearsal.store.rows import pack, unpack

__all__ = ["Artifact", "Commit", "File", "Manifest"]

PAUSES = (0.5, 2.0, 8.0)
"""Seconds before each further try to create. An adapter has its own, longer patience with a store that is down."""
NONE: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Artifact:
    """The output of one stage in the store, by fingerprint.

    `stage` is how a person calls it; `pause` waits between tries; `pinned` is the digest of its seal, where it is known.
    """

    objects: Objects
    namespace: str
    kind: str
    fingerprint: str
    stage: str
    pause: Callable[[float], None] = time.sleep
    pinned: str | None = None

    @property
    def layout(self) -> Layout:
        """Where its objects lie."""
        return Layout(f"{self.namespace}/{self.kind}/{self.fingerprint}")

    def manifest(self) -> Manifest | None:
        """Return the seal, if there is one; CorruptInput if it cannot be read, or is not the pinned one."""
        data = self._get(self.layout.manifest)
        if data is not None and self.pinned not in (None, hashlib.sha256(data).hexdigest()):
            raise self._corrupt(f"{self.layout.manifest} is not the seal that was recorded", "SealChanged")
        return None if data is None else self._manifest(data)

    def sealed(self) -> Manifest:
        """Return the seal, or raise CorruptInput."""
        if found := self.manifest():
            return found
        raise CorruptInput(f"{self.stage} is not sealed: there is no {self.layout.manifest}", "SealMissing", self.stage)

    def commits(self, shards: int | None = None) -> dict[int, Commit]:
        """Return index -> commit of every committed shard, in order; of those below `shards`, if that is given."""
        keys = {index: key for key in self.objects.list(self.layout.shards) if (index := self.layout.committed(key)) is not None}
        wanted = sorted(index for index in keys if shards is None or index < shards)
        found = ((index, self._get(keys[index])) for index in wanted)
        return {index: self._commit(index, data) for index, data in found if data is not None}

    def commit_shard(self, index: int, rows: Iterable[Mapping[str, object]], refused: Mapping[str, int] = NONE) -> Commit:
        """Commit the rows as this shard, unless it is committed already; return the commit that took effect.

        `rows` is read once, and not at all where the shard is committed already.
        """
        key = self.layout.commit(index)
        if (earlier := self._get(key)) is not None:
            return self._commit(index, earlier)
        data, count = pack(rows)
        ours = self._write_data(index, data, count, refused)
        winner = self._commit(index, self._create(key, ours.stored))
        if winner != ours:
            self._check(winner, f"shard {index}")
        return winner

    def settle(self, name: str, data: bytes) -> bytes:
        """Write down once and for all what every worker of the stage must agree on; return what was written first."""
        return self._create(f"{self.layout.prefix}/{name}", data)

    def add_file(self, path: str, local: Path) -> File:
        """Store an output file under a path, to be named when sealing. What is there already is not sent again."""
        sha256, size = sha256_of(local), local.stat().st_size
        file = File(path=path, key=self.layout.file(path, sha256), sha256=sha256, size=size)
        try:
            stat = self.objects.stat(file.key)
            there = (stat.sha256, stat.size) == (sha256, size)
        except NotFound:
            there = False
        if not there and self.objects.upload(file.key, local) != sha256:
            raise StoreError(f"{local} changed while it was stored as {file.key}")
        return file

    def seal(self, shards: int, files: Sequence[File] = (), facts: Mapping[str, str | int | float] = NONE) -> Manifest:
        """Seal shards 0 to `shards` - 1 and these files, unless it is sealed already; return the seal that took effect.

        A shard that is not committed is a StageError that names it, and nothing is sealed.
        """
        if earlier := self.manifest():
            return earlier
        commits = self.commits(shards)
        if missing := [str(index) for index in range(shards) if index not in commits]:
            listed = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
            raise StageError(f"{self.stage} cannot be sealed: of {shards} shards, not committed: {listed}", "ShardsMissing")
        ours = Manifest(
            kind=str(self.kind), fingerprint=self.fingerprint, shards=tuple(commits.values()), files=tuple(files), facts=dict(facts)
        )
        for name, part in _parts(ours):
            self._check(part, name)
        return self._manifest(self._create(self.layout.manifest, ours.stored))

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield every row of the sealed output in order. No row of a shard is seen before the shard's digest is checked."""
        for commit in self.sealed().shards:
            yield from self._rows(commit)

    def shard_rows(self, index: int) -> Iterator[dict[str, Any]]:
        """Yield the rows of a committed shard, sealed or not, checked like a sealed one's."""
        data = self._get(self.layout.commit(index))
        if data is None:
            raise CorruptInput(f"shard {index} of {self.stage} is not committed", "ShardMissing", self.stage)
        yield from self._rows(self._commit(index, data))

    def fetch_files(self, into: Path) -> None:
        """Bring the sealed output's files to a folder, each checked against size and digest; one that fails is not left there."""
        folder = into.resolve()
        for file in self.sealed().files:
            local = folder / file.path
            if not local.resolve().is_relative_to(folder):
                raise self._corrupt(f"file {file.path} would be written outside {into}", "PathEscape")
            try:
                found = self.objects.download(file.key, local)
            except NotFound:
                raise self._corrupt(f"file {file.path}: no object {file.key}", "ObjectMissing") from None
            if local.stat().st_size != file.size or found != file.sha256:
                local.unlink()
                raise self._corrupt(f"file {file.path}: {file.key} is not what was sealed", "DigestMismatch")

    def _write_data(self, index: int, data: bytes, rows: int, refused: Mapping[str, int]) -> Commit:
        sha256 = hashlib.sha256(data).hexdigest()
        key = self.layout.data(index, sha256)
        self.objects.put(key, data)
        stat = self.objects.stat(key)
        if (stat.sha256, stat.size) != (sha256, len(data)):
            raise StoreError(f"the store did not keep {key} as it was written")
        return Commit(index=index, key=key, sha256=sha256, size=len(data), rows=rows, refused=dict(refused))

    def _create(self, key: str, data: bytes) -> bytes:
        """Create the object and return what is there now: ours or another writer's."""
        for pause in PAUSES:
            with suppress(StoreError):
                return self._try_to_create(key, data)
            self.pause(pause)
        return self._try_to_create(key, data)

    def _try_to_create(self, key: str, data: bytes) -> bytes:
        # Read first: an earlier try may have taken effect although its answer was lost.
        if (found := self._get(key)) is not None:
            return found
        if self.objects.create(key, data):
            return data
        try:
            return self.objects.get(key)
        except NotFound:
            raise StoreError(f"the store says that {key} is taken, and that it is not there") from None

    def _get(self, key: str) -> bytes | None:
        try:
            return self.objects.get(key)
        except NotFound:
            return None

    def _commit(self, index: int, data: bytes) -> Commit:
        """Return the commit of these bytes; CorruptInput if they are not one of this shard."""
        key = self.layout.commit(index)
        try:
            commit = read(Commit, data)
        except ValueError as error:
            raise self._corrupt(f"shard {index}: {key} cannot be read ({error})", "CommitUnreadable") from error
        if (commit.index, commit.key) != (index, self.layout.data(index, commit.sha256)):
            raise self._corrupt(f"shard {index}: {key} belongs to another shard", "CommitUnreadable")
        return commit

    def _manifest(self, data: bytes) -> Manifest:
        """Return the seal of these bytes; CorruptInput if they are not one of this artifact."""
        key = self.layout.manifest
        try:
            manifest = read(Manifest, data)
        except ValueError as error:
            raise self._corrupt(f"{key} cannot be read ({error})", "SealUnreadable") from error
        layout = self.layout
        astray = [c.key for c in manifest.shards if c.key != layout.data(c.index, c.sha256)]
        astray += [f.key for f in manifest.files if f.key != layout.file(f.path, f.sha256)]
        if astray or (manifest.kind, manifest.fingerprint) != (self.kind, self.fingerprint):
            raise self._corrupt(f"{key} is the seal of something else", "SealUnreadable")
        return manifest

    def _check(self, part: Commit | File, name: str) -> None:
        """Compare what the store says of an object with what is to be sealed, without reading it."""
        try:
            stat = self.objects.stat(part.key)
        except NotFound:
            raise self._corrupt(f"{name}: no object {part.key}", "ObjectMissing") from None
        if (stat.sha256, stat.size) != (part.sha256, part.size):
            raise self._corrupt(f"{name}: {part.key} is not what was committed", "DigestMismatch")

    def _rows(self, commit: Commit) -> Iterator[dict[str, Any]]:
        data = self._get(commit.key)
        if data is None:
            raise self._corrupt(f"shard {commit.index}: no object {commit.key}", "ObjectMissing")
        if hashlib.sha256(data).hexdigest() != commit.sha256:
            raise self._corrupt(f"shard {commit.index}: {commit.key} is not what was committed", "DigestMismatch")
        yield from unpack(data)

    def _corrupt(self, text: str, reason: str) -> CorruptInput:
        return CorruptInput(f"{self.stage}, {text}; remove {self.layout.prefix}/ from the store and run again", reason, self.stage)


def _parts(manifest: Manifest) -> Iterator[tuple[str, Commit | File]]:
    """Yield (name for people, part) of everything that a seal names."""
    for commit in manifest.shards:
        yield f"shard {commit.index}", commit
    for file in manifest.files:
        yield f"file {file.path}", file
