"""Checkpoints of a training run in the store, under the stage's own fingerprint: uploaded file by file, then sealed.

    <artifact>/checkpoints/<step>/files/<sha256>/<name>        every rank's files, from the node that it runs on
    <artifact>/checkpoints/<step>/nodes/<attempt>/<node>.json  create-if-absent: what this node stored, in this attempt
    <artifact>/checkpoints/<step>/seal.json                    create-if-absent: step, world, files with SHA-256

The node that finds the records of all the others there seals: files of two attempts never mix, and a checkpoint that one node
did not store whole is none. What is not sealed is not there. DeepSpeed unpickles what it resumes from, so nothing else is ever
resumed from: who may write to the store runs code in the trainer. Older checkpoints stay in the store; it has no deletion.
"""

import hashlib
import re
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from rehearsal.api.messages import CorruptInput, Refused
from rehearsal.store.checksums import sha256_of
from rehearsal.store.commit import Artifact
from rehearsal.store.manifest import AnyRecord, Record, Sha256, read
from rehearsal.store.objects import NotFound, StoreError
from rehearsal.worker.node import Node

RANK_OF_FILE = re.compile(r"zero_pp_rank_([0-9]+)_")
"""DeepSpeed names the files that one rank alone reads and writes after it. The others are every rank's to read."""


class World(Record):
    """What a checkpoint can be resumed by: the same plan, ranks and partitioning, nothing else."""

    plan_digest: Sha256
    ranks: int = Field(ge=1)
    zero_stage: int
    offload: bool


class Part(Record):
    """What one node stored of a checkpoint. `files` maps a path, relative to the checkpoint's folder, to its SHA-256."""

    files: dict[str, Sha256] = Field(min_length=1)


class Seal(Record):
    """A whole checkpoint: the files of all nodes."""

    step: int = Field(ge=1)
    world: World
    files: dict[str, Sha256] = Field(min_length=1)

    @property
    def digest(self) -> str:
        """SHA-256 of the stored bytes, in hex."""
        return hashlib.sha256(self.stored).hexdigest()


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one stage's output."""

    artifact: Artifact

    def save(self, folder: Path, step: int, world: World, node: Node, attempt: str) -> Seal | None:
        """Upload a node's files of a checkpoint, and seal it if those of the other nodes are there; a seal that stands is kept.

        `attempt` tells this group of nodes, at work together, from any other that ever was.
        """
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        part = Part(files=dict(self._upload(step, path.relative_to(folder).as_posix(), path) for path in files))
        self.artifact.objects.create(self._part(step, attempt, node.index), part.stored)
        parts = [self._found(self._part(step, attempt, index)) for index in range(node.count)]
        stored = [found for found in parts if found is not None]
        if len(stored) < node.count:
            return None
        ours = Seal(step=step, world=world, files={name: sha256 for found in stored for name, sha256 in found.files.items()})
        if self.artifact.objects.create(self._seal(step), ours.stored):
            return ours
        return self._read(Seal, self._seal(step))

    def latest(self) -> Seal | None:
        """Return the sealed checkpoint of the most steps, if there is one."""
        pattern = re.compile(re.escape(f"{self._root}/") + r"([0-9]+)/seal\.json")
        steps = [int(found[1]) for key in self.artifact.objects.list(f"{self._root}/") if (found := pattern.fullmatch(key))]
        return self._read(Seal, self._seal(max(steps))) if steps else None

    def fetch(self, seal: Seal, world: World, ranks: Container[int], into: Path) -> Path:
        """Bring what these ranks need of a checkpoint to `<into>/<step>`, every file checked; Refused when it is of another world."""
        if seal.world != world:
            raise Refused(
                f"the checkpoint at step {seal.step} is of another set-up ({_differences(seal.world, world)}): "
                "put the spec back, or set spec.rerun to train anew",
                "CheckpointMismatch",
            )
        folder = into / str(seal.step)
        for name, sha256 in seal.files.items():
            if (owner := RANK_OF_FILE.search(name)) and int(owner[1]) not in ranks:
                continue
            key, local = self._file(seal.step, name, sha256), folder / name
            if not local.resolve().is_relative_to(folder.resolve()):
                raise CorruptInput(f"checkpoint file {name} would be written outside {folder}", "PathEscape")
            local.parent.mkdir(parents=True, exist_ok=True)
            try:
                found = self.artifact.objects.download(key, local)
            except NotFound as error:
                raise self._corrupt(seal, f"{key} is missing") from error
            if found != sha256:
                raise self._corrupt(seal, f"{key} is not what was sealed")
        return folder

    @property
    def _root(self) -> str:
        return f"{self.artifact.layout.prefix}/checkpoints"

    def _seal(self, step: int) -> str:
        return f"{self._root}/{step}/seal.json"

    def _part(self, step: int, attempt: str, node: int) -> str:
        return f"{self._root}/{step}/nodes/{attempt}/{node}.json"

    def _file(self, step: int, name: str, sha256: str) -> str:
        return f"{self._root}/{step}/files/{sha256}/{name}"

    def _upload(self, step: int, name: str, path: Path) -> tuple[str, str]:
        sha256 = sha256_of(path)
        key = self._file(step, name, sha256)
        if self.artifact.objects.upload(key, path) != sha256:
            raise StoreError(f"{path} changed while it was stored as {key}")
        return name, sha256

    def _found(self, key: str) -> Part | None:
        try:
            return self._read(Part, key)
        except NotFound:
            return None

    def _read(self, record: type[AnyRecord], key: str) -> AnyRecord:
        try:
            return read(record, self.artifact.objects.get(key))
        except ValueError as error:
            raise CorruptInput(
                f"{key} cannot be read ({error}); remove it from the store and run again", "SealUnreadable"
            ) from error

    def _corrupt(self, seal: Seal, what: str) -> CorruptInput:
        return CorruptInput(f"{what}; remove {self._root}/{seal.step}/ from the store and run again", "CheckpointCorrupt")


def _differences(theirs: World, ours: World) -> str:
    """Name what differs between a checkpoint's world and ours."""
    before, now = theirs.model_dump(), ours.model_dump()
    return ", ".join(
        f"{name} {str(before[name])[:12]} then and {str(now[name])[:12]} now" for name in before if before[name] != now[name]
    )
