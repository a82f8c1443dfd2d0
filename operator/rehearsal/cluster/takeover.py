"""One command at a time on a state folder, and an end to what the last one left behind.

A killed command's processes die by their supervisors; this is for the rest: a supervisor killed too, a machine that lost its power.
Found are processes whose environment carries a pod's mark, whose output goes to its logs, or that are in a supervisor's session, and all
below these. Not covered: a daemon that has shed all three after both supervisor and command were killed.
"""

import asyncio
import fcntl
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rehearsal.cluster import supervise
from rehearsal.cluster.place import MARK
from rehearsal.cluster.port import Unavailable
from rehearsal.outside.json_text import read_own_json

_PATIENCE_ROUNDS = 100
_ROUND_SECONDS = 0.05


class StateInUse(Unavailable):
    """Another command works on this state."""


class Record:
    """What a pod has on this machine, written down for the next start: `<state>/processes/<pod UID>.json`."""

    def __init__(self, state: Path, pod_uid: str) -> None:
        self._path = state / "processes" / f"{pod_uid}.json"
        self._content: dict[str, object] = {}
        self._supervisors: list[list[int]] = []

    def write(self, folders: Sequence[Path], logs: Path) -> None:
        """Write down the pod's folders, before they are made, and where its output goes."""
        self._content = {
            "boot": _boot(),
            "folders": [str(folder) for folder in folders],
            "logs": str(logs),
            "supervisors": self._supervisors,
        }
        self._save()

    def add(self, pid: int) -> None:
        """Write down a supervisor. On a full disk it is left out: the mark and the logs tell its processes too."""
        self._supervisors[:] = [[old, start] for old, start in self._supervisors if _is(old, start)]
        if process := supervise.process_of(pid):
            self._supervisors.append([pid, process.start])
            with suppress(OSError):
                self._save()

    def remove(self) -> None:
        """The pod has ended and left nothing."""
        self._path.unlink(missing_ok=True)

    def _save(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_suffix(".new")
        draft.write_text(json.dumps(self._content))
        draft.rename(self._path)


def lock(state: Path) -> int:
    """Take the state folder for this process and return the open lock.

    Raises StateInUse, naming who has it, and Unavailable when the folder cannot be written.
    """
    try:
        state.mkdir(parents=True, exist_ok=True)
        handle = os.open(state / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise Unavailable(f"{error.filename}: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        pid = os.pread(handle, 32, 0).decode().strip()
        os.close(handle)
        raise StateInUse(f"{state} is in use by process {pid}: wait for it, or end it") from error
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    return handle


async def reap(state: Path) -> None:
    """End every process and remove every folder that records of pods name. Supervisors that are at it are given five seconds."""
    for path in (state / "processes").glob("*.json"):
        content = _read(path)
        supervisors = dict(content["supervisors"]) if content["boot"] == _boot() else {}
        for round_ in range(2 * _PATIENCE_ROUNDS):
            left = _left(path.stem, content["logs"], supervisors)
            if not left:
                break
            if round_ >= _PATIENCE_ROUNDS or not left & supervisors.keys():
                supervise.kill(left)
            await asyncio.sleep(_ROUND_SECONDS)
        for folder in content["folders"]:
            shutil.rmtree(folder, ignore_errors=True)
        path.unlink()
    shutil.rmtree(state / "pods", ignore_errors=True)


def _left(pod_uid: str, logs: str, supervisors: Mapping[int, int]) -> set[int]:
    """The living processes of a pod."""
    table = {pid: process for pid, process in supervise.process_table().items() if process.state != "Z" and pid != os.getpid()}
    ours = {pid for pid in table if _marked(pid, pod_uid) or _writes_to(pid, logs)}
    for pid, process in table.items():
        leader = table.get(process.session)
        recorded = supervisors.get(process.session)
        # A number is given away again only when no process has it as pid or session: another leader means another session.
        if recorded is not None and process.start >= recorded and (leader is None or leader.start == recorded):
            ours.add(pid)
    return ours | supervise.below(ours, table)


def _marked(pid: int, pod_uid: str) -> bool:
    with suppress(OSError):
        return f"{MARK}={pod_uid}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return False


def _writes_to(pid: int, logs: str) -> bool:
    """Tell whether standard output or error is a file of that folder; a reader of a log has it as another file."""
    outputs = []
    for number in (1, 2):
        with suppress(OSError):
            outputs.append(str(Path(f"/proc/{pid}/fd/{number}").readlink()))
    return any(output.startswith(f"{logs}/") for output in outputs)


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = read_own_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise Unavailable(f"{path} cannot be read; remove it when no process of an earlier command is left") from error
    return content


def _is(pid: int, start: int) -> bool:
    process = supervise.process_of(pid)
    return process is not None and process.start == start


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
