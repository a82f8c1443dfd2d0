"""Entry point of every stage program: reads the task, runs the stage, writes the termination message, exits as agreed.

No traceback reaches a person for a fault that has a name; an unforeseen one is a bug (70) and is logged in full.
"""

import argparse
import importlib
import os
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from types import FrameType

from pydantic import ValidationError

from rehearsal.api.messages import (
    OF_THE_DISK,
    TERMINATION_BYTES,
    CorruptInput,
    DiskError,
    ExitCode,
    Refused,
    StageError,
    Termination,
)
from rehearsal.api.task import Task
from rehearsal.outside.text import shown
from rehearsal.pipeline.stage import Kind
from rehearsal.store.open import open_store
from rehearsal.worker.context import Context, Outcome, log, slot_of_pod
from rehearsal.worker.ending import do_last_acts

LONGEST_DETAILS = 100_000
WORDLESS = b'{"reason": "Bug", "message": "the stage ended, and why could not be written; the log has what there is"}'
PROGRAMS = (*Kind, "load-model")


def main() -> int:
    """Run one stage program and return its exit code."""
    signal.signal(signal.SIGTERM, _terminated)
    arguments = _arguments()
    try:
        return _finish(arguments.termination_log, _run(arguments))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # panics of native code are no Exception, and a library may call sys.exit
        return _end(arguments.termination_log, error, arguments.scratch)


def _run(arguments: argparse.Namespace) -> Termination | None:
    try:
        task = Task.model_validate_json(arguments.task.read_bytes())
    except OSError as error:
        raise Refused(f"the task file {arguments.task} cannot be read: {error.strerror}", "ReleaseMismatch") from error
    except ValidationError as error:
        raise Refused(
            f"the task file does not fit this release: {error.error_count()} errors; use images of the same release"
        ) from error
    context = Context(task, open_store(task.store), arguments.scratch, arguments.model, slot_of_pod())
    program = importlib.import_module(f"rehearsal.worker.{arguments.program.replace('-', '_')}")
    outcome: Outcome | Termination | None = program.run(context)
    if outcome is None or isinstance(outcome, Termination):
        return outcome
    if outcome.manifest is None:
        return Termination(usage=outcome.usage, another_round=outcome.another_round, message=outcome.warning[:2048] or None)
    return Termination(
        fingerprint=task.fingerprint,
        manifest_digest=outcome.manifest.digest,
        rows=outcome.manifest.rows,
        refused=outcome.manifest.refused,
        facts=outcome.manifest.facts,
        usage=outcome.usage,
        message=outcome.warning[:2048] or None,
    )


def _finish(path: Path, termination: Termination | None) -> int:
    """A pod whose part was another one's to seal has nothing to say."""
    if termination is not None:
        _write(path, termination)
    return ExitCode.DONE


def _end(path: Path, error: BaseException, scratch: Path) -> int:
    """Tell why the stage ended, and return its exit code. Nothing met on the way keeps it from either."""
    end = _named(error, scratch)
    with suppress(BaseException):
        _log(end or error)
    try:
        _write(path, _word(end, error))
    except BaseException:
        with suppress(BaseException):
            path.write_bytes(WORDLESS)
    return end.code if end else ExitCode.BUG


def _named(error: BaseException, scratch: Path) -> StageError | None:
    """Return the end of a stage that an exception stands for; None is a bug of ours."""
    if isinstance(error, OSError) and error.errno in OF_THE_DISK:
        return DiskError(f"{error.strerror}: {error.filename or scratch}; make room and run again")
    return error if isinstance(error, StageError) else None


def _word(end: StageError | None, error: BaseException) -> Termination:
    if end:
        return Termination(reason=end.reason, message=str(end), void=end.stage if isinstance(end, CorruptInput) else None)
    text = f"unforeseen {type(error).__name__}; the log has the details, please report it"
    return Termination(reason="Bug", message=text)


def _log(error: BaseException) -> None:
    """Write a fault with a name as one line, and any other in full."""
    if isinstance(error, StageError):
        log(f"{error.reason}: {error}")
    else:
        sys.stderr.write(shown("".join(traceback.format_exception(error)), LONGEST_DETAILS, lines=True))
        sys.stderr.flush()


def _write(path: Path, termination: Termination) -> None:
    """A full disk must not hide the exit code: a word that cannot be written is a word that is lost."""
    with suppress(OSError):
        path.write_bytes(encoded(termination))


def encoded(termination: Termination) -> bytes:
    """Return the message in at most 4,096 bytes: what is left is whole JSON.

    Figures go first, then the last of the seals that preflight found (the Job of such a stage finds it again), then the end of the text.
    """
    data = _json(termination)
    if len(data) > TERMINATION_BYTES:
        termination = termination.model_copy(update={"refused": {}, "facts": {}})
        data = _json(termination)
    while len(data) > TERMINATION_BYTES and termination.sealed:
        kept = list(termination.sealed.items())[:-1]
        termination = termination.model_copy(update={"sealed": dict(kept)})
        data = _json(termination)
    while len(data) > TERMINATION_BYTES and termination.message:
        termination = termination.model_copy(update={"message": termination.message[: len(termination.message) * 3 // 4]})
        data = _json(termination)
    return data


def _json(termination: Termination) -> bytes:
    return termination.model_dump_json(by_alias=True, exclude_defaults=True).encode()


def _terminated(_signal: int, _frame: FrameType | None) -> None:
    """SIGTERM: the pod is being drained or stopped. What is committed stays; nothing is owed but a word of farewell."""
    do_last_acts()
    sys.stderr.flush()
    os._exit(ExitCode.TERMINATED)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m rehearsal.worker", description=__doc__)
    parser.add_argument("program", choices=PROGRAMS)
    parser.add_argument("--task", type=Path, required=True, help="the task file")
    parser.add_argument("--scratch", type=Path, required=True, help="a folder of the pod's own")
    parser.add_argument("--model", type=Path, default=Path("/model"), help="where load-model puts the stage's model")
    parser.add_argument("--termination-log", type=Path, default=Path("/dev/termination-log"))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
