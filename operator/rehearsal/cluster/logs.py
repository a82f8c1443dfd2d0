"""The logs of containers: `<job>/<pod>/<container>.log`. They outlive their Job, until its run is deleted or many newer ones came.

A restarted container goes on in the same file. A single file's size is not bounded.
"""

import shutil
from pathlib import Path

_JOBS = 200
_PODS_OF_A_JOB = 50
_TAIL_BYTES = 1 << 20
_OWNER = ".run"


class Logs:
    """The folder of all logs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of_pod(self, pod: str, job: str, run_uid: str) -> Path:
        """Make and return the folder of a pod's logs; the oldest ones make room."""
        folder = self._folder / job / pod
        folder.mkdir(parents=True, exist_ok=True)
        (folder.parent / _OWNER).write_text(run_uid)
        _keep_newest(folder.parent, _PODS_OF_A_JOB)
        _keep_newest(self._folder, _JOBS)
        return folder

    def tail(self, pod: str, container: str, lines: int) -> str | None:
        """Return the last lines of a container's log, or None when there is none."""
        path = next(self._folder.glob(f"*/{pod}/{container}.log"), None)
        return None if path is None else tail(path, lines)

    def forget(self, run_uid: str) -> None:
        """Remove all logs of a run."""
        for owner in self._folder.glob(f"*/{_OWNER}"):
            if owner.read_text() == run_uid:
                shutil.rmtree(owner.parent, ignore_errors=True)


def tail(path: Path, lines: int) -> str:
    """Return a file's last lines, as far as they lie in its last megabyte."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _TAIL_BYTES))
        text = file.read().decode(errors="replace")
    return "".join(text.splitlines(keepends=True)[-lines:]) if lines > 0 else ""


def _keep_newest(folder: Path, count: int) -> None:
    folders = sorted((item for item in folder.iterdir() if item.is_dir()), key=lambda item: item.stat().st_mtime)
    for item in folders[:-count]:
        shutil.rmtree(item, ignore_errors=True)
