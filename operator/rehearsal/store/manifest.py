"""What is written beside the data: a shard's commit, and the manifest that seals a stage's output.

Their stored bytes leave out what has its default, so a field added later changes no digest of an older seal.
"""

import hashlib
from collections import Counter
from typing import Annotated, Self, TypeVar

from pydantic import AfterValidator, Field, StringConstraints, ValidationError, model_validator

from rehearsal.api.model import ApiModel
from rehearsal.store.keys import is_key
from rehearsal.store.rows import line

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
AnyRecord = TypeVar("AnyRecord", bound="Record")


def _relative(text: str) -> str:
    if not is_key(text):
        raise ValueError("must be a relative path without empty, `.` or `..` parts")
    return text


Relative = Annotated[str, AfterValidator(_relative)]


class Record(ApiModel):
    """Something that is stored as one line of JSON, always the same one."""

    @property
    def stored(self) -> bytes:
        """The bytes that stand for this in the store."""
        return line(self.model_dump(mode="json", by_alias=True, exclude_defaults=True))


def read(model: type[AnyRecord], data: bytes) -> AnyRecord:
    """Return the record of these stored bytes; ValueError, in one line, if they are not exactly what `stored` would give."""
    try:
        record = model.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from error
    if record.stored != data:
        raise ValueError("not written by this program, or edited since")
    return record


class Commit(Record):
    """A shard took effect: these rows, and no others."""

    index: Count
    key: Relative
    sha256: Sha256 = Field(description="Of the stored object, compressed as it is.")
    size: Count
    rows: Count
    refused: dict[str, Count] = Field(default_factory=dict, description="Rows refused, by reason.")


class File(Record):
    """An output file. `path` is where a reader finds it again, relative to a folder of its choice."""

    path: Relative
    key: Relative
    sha256: Sha256
    size: Count


class Manifest(Record):
    """The seal. Shards are in order and complete; a reader opens only what is named here."""

    kind: str
    fingerprint: str
    shards: tuple[Commit, ...] = ()
    files: tuple[File, ...] = ()
    facts: dict[str, str | int | float] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if [commit.index for commit in self.shards] != list(range(len(self.shards))):
            raise ValueError("shards must be numbered 0, 1, 2, …, each once")
        if len({file.path for file in self.files}) != len(self.files):
            raise ValueError("two files have the same path")
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of the stored bytes, in hex."""
        return hashlib.sha256(self.stored).hexdigest()

    @property
    def rows(self) -> int:
        """Rows in all."""
        return sum(commit.rows for commit in self.shards)

    @property
    def refused(self) -> dict[str, int]:
        """Rows refused in all, by reason."""
        total: Counter[str] = Counter()
        for commit in self.shards:
            total.update(commit.refused)
        return dict(sorted(total.items()))
