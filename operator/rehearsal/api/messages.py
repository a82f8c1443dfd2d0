"""What a worker says and how it ends: exit codes, typed errors, the termination message, progress lines.

StageError          one exit code each; str() is one plain line, never a traceback
├── Refused         64  the spec or a model is wrong: fix the manifest
├── CorruptInput    65  an input does not match its digest, or a shard kills its workers
├── TooManyRefused  66  more rows were refused than the run allows
├── Unavailable     69  a service did not answer: try again
├── DiskError       74  the disk is full or broken: try again on a fresh pod
└── DeviceUnusable  75  the engine or its device is broken: try again on a fresh pod
"""

import errno
import math
from enum import IntEnum
from typing import Annotated

from pydantic import BeforeValidator, Field

from rehearsal.api.model import ApiModel
from rehearsal.outside.text import shown

TERMINATION_BYTES = 4096
"""Kubernetes keeps no more of a termination message (`terminationMessagePath`)."""


class ExitCode(IntEnum):
    """Shared by workers and `podFailurePolicy`."""

    DONE = 0
    REFUSED = 64
    CORRUPT_INPUT = 65
    TOO_MANY_REFUSED = 66
    UNAVAILABLE = 69
    BUG = 70
    DISK = 74
    DEVICE = 75
    KILLED = 137
    TERMINATED = 143


RANK_LOST = "RankLost"
"""The reason of a node's end that only lost another one: that one tells why."""
NODES_MISSING = "NodesMissing"
"""The reason of a node's end that waited for the others in vain. Where a pod of theirs had no place, nothing failed."""

FATAL = (ExitCode.REFUSED, ExitCode.CORRUPT_INPUT, ExitCode.TOO_MANY_REFUSED)
"""A second try would end the same way: these fail the Job at once."""


class StageError(Exception):
    """The end of a stage program. `reason` is CamelCase; the text names what is wrong and what to do about it."""

    code = ExitCode.BUG
    reason = "Bug"

    def __init__(self, text: str, reason: str | None = None) -> None:
        super().__init__(text)
        self.reason = reason or self.reason


class Refused(StageError):
    """The user's to mend: the text names the field, file or line."""

    code, reason = ExitCode.REFUSED, "Refused"


class CorruptInput(StageError):
    """What was read is not what was sealed. `stage` names the stage whose record is void, when there is one."""

    code, reason = ExitCode.CORRUPT_INPUT, "CorruptInput"

    def __init__(self, text: str, reason: str | None = None, stage: str | None = None) -> None:
        super().__init__(text, reason)
        self.stage = stage


class TooManyRefused(StageError):
    """The rows of a stage were mostly unfit."""

    code, reason = ExitCode.TOO_MANY_REFUSED, "TooManyRefused"


class Unavailable(StageError):
    """A dependency did not answer in time."""

    code, reason = ExitCode.UNAVAILABLE, "Unavailable"


OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
"""The `errno` of an OSError that is the disk's."""


class DiskError(StageError):
    """The disk refused a write."""

    code, reason = ExitCode.DISK, "DiskError"


class DeviceUnusable(StageError):
    """The engine is gone, hangs, or its device is broken."""

    code, reason = ExitCode.DEVICE, "DeviceUnusable"


class Usage(ApiModel):
    """What a stage consumed. Tokens are the engine's count."""

    prompt_tokens: int = Field(0, ge=0, description="Tokens read.")
    completion_tokens: int = Field(0, ge=0, description="Tokens written.")

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
        )


LONGEST_MESSAGE = 2048


def _shown(value: object, most: int) -> object:
    return shown(value, most) if isinstance(value, str) else value


def _fact(value: object) -> object:
    """JSON has no word for a figure that is none."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else _shown(value, 253)


Words = Annotated[str, BeforeValidator(lambda value: _shown(value, 64))]
"""A word or two, printable whatever was given."""
Line = Annotated[str, BeforeValidator(lambda value: _shown(value, LONGEST_MESSAGE))]
"""One line for a person, printable whatever was given."""
Fact = Annotated[str | int | float, BeforeValidator(_fact)]


class Termination(ApiModel):
    """A worker's last word, written to its termination message: at most 4,096 bytes, no model text."""

    fingerprint: str | None = Field(None, description="What the stage sealed, or found sealed.")
    manifest_digest: str | None = Field(None, description="SHA-256 of the seal; absent when nothing was sealed.")
    reason: Words | None = Field(None, description="Why it failed, CamelCase.")
    message: Line | None = Field(
        None, description="Why it failed, what to know of what it sealed, or why it asks for another round: one line."
    )
    void: Words | None = Field(None, description="The stage whose sealed output was found missing or corrupt.")
    another_round: int | None = Field(None, description="The round of elicitation that select asks for next.")
    inputs: dict[str, str] = Field(default_factory=dict, description="Preflight: the digest of every external input.")
    sealed: dict[str, str] = Field(default_factory=dict, description="Preflight: stage -> digest of the seal it found.")
    rows: int | None = Field(None, description="Rows of the stage's output.")
    refused: dict[Words, int] = Field(default_factory=dict, description="Rows refused, by reason.")
    facts: dict[Words, Fact] = Field(default_factory=dict, description="A few figures for the status.")
    usage: Usage = Field(default_factory=Usage)


class Progress(ApiModel):
    """One line of a worker's output, at most every five seconds: figures of the whole stage, no model text."""

    done: int = Field(ge=0, description="Units that are committed or done.")
    total: int = Field(ge=0, description="Units in all.")
    unit: Words = Field("rows", max_length=16)
    per_second: float = Field(0.0, ge=0, description="Units a second, lately.")
    tokens_per_second: float = Field(0.0, ge=0)
    dropped: int | None = Field(None, ge=0, description="Of a worker that was told to end: units in the making, which are lost.")


PROGRESS_PREFIX = '{"progress":'
