"""Checkpoints of a training run in the store, under the stage's own fingerprint: uploaded file by file, then sealed.

    <artifact>/checkpoints/<step>/files/<name>     every rank's files
    <artifact>/checkpoints/<step>/seal.json        create-if-absent: step, world, files with SHA-256

What is not sealed is not there. DeepSpeed unpickles what it resumes from, so nothing else is ever resumed from: who may
write to the store runs code in the trainer. Older checkpoints stay in the store; it has no deletion.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from rehearsal.api.messages import CorruptInput, Refused
from rehearsal.store.checksums import sha256_of
from rehearsal.store.commit import Artifact
from rehearsal.store.manifest import Record, Sha256, read
from rehearsal.store.objects import NotFound, StoreError


class World(Record):
    """What a checkpoint can be resumed by: the same plan, ranks and partitioning, nothing else."""

    plan_digest: Sha256
    ranks: int = Field(ge=1)
    zero_stage: int
    offload: bool


class Seal(Record):
    """A whole checkpoint. `files` maps a path, relative to the checkpoint's folder, to its SHA-256."""

    step: int = Field(ge=1)
    world: World
    files: dict[str, Sha256] = Field(min_length=1)


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one stage's output."""

    artifact: Artifact

    def save(self, folder: Path, step: int, world: World) -> Seal:
        """Upload a checkpoint's folder and seal it; a seal that is there already stands."""
        files = {}
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = path.relative_to(folder).as_posix()
            files[name] = sha256_of(path)
            key = self._file(step, name)
            if self.artifact.objects.upload(key, path) != files[name]:
                raise StoreError(f"{path} changed while it was stored as {key}")
        ours = Seal(step=step, world=world, files=files)
        if self.artifact.objects.create(self._seal(step), ours.stored):
            return ours
        return self._read(self._seal(step))

    def latest(self) -> Seal | None:
        """Return the sealed checkpoint of the most steps, if there is one."""
        pattern = re.compile(re.escape(f"{self._root}/") + r"([0-9]+)/seal\.json")
        steps = [int(found[1]) for key in self.artifact.objects.list(f"{self._root}/") if (found := pattern.fullmatch(key))]
        return self._read(self._seal(max(steps))) if steps else None

    def fetch(self, seal: Seal, world: World, into: Path) -> Path:
        """Bring a checkpoint to `<into>/<step>`, every file checked; Refused when it is of another world."""
        if seal.world != world:
            raise Refused(
                f"the checkpoint at step {seal.step} is of another set-up ({_differences(seal.world, world)}): "
                "put the spec back, or set spec.rerun to train anew",
                "CheckpointMismatch",
            )
        folder = into / str(seal.step)
        for name, sha256 in seal.files.items():
            key, local = self._file(seal.step, name), folder / name
            if not local.resolve().is_relative_to(folder.resolve()):
                raise CorruptInput(f"checkpoint file {name} would be written outside {folder}", "PathEscape")
            local.parent.mkdir(parents=True, exist_ok=True)
            try:
                self.artifact.objects.download(key, local)
            except NotFound as error:
                raise self._corrupt(seal, f"{key} is missing") from error
            if sha256_of(local) != sha256:
                raise self._corrupt(seal, f"{key} is not what was sealed")
        return folder

    @property
    def _root(self) -> str:
        return f"{self.artifact.layout.prefix}/checkpoints"

    def _seal(self, step: int) -> str:
        return f"{self._root}/{step}/seal.json"

    def _file(self, step: int, name: str) -> str:
        return f"{self._root}/{step}/files/{name}"

    def _read(self, key: str) -> Seal:
        try:
            return read(Seal, self.artifact.objects.get(key))
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
