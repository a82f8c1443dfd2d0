"""What is left of a node whose servers were stopped, or died: containers, their shims, mounts and control groups."""

import os
import re
import subprocess
import time
from pathlib import Path

from rehearsal.cluster.supervise import kill, process_table
from tests.onenode.layout import CGROUP, RUN, STATE

DEATH_SECONDS = 120.0


def kill_containers() -> list[str]:
    """End the processes in the pods' control groups, and the shims above them; return how many there were."""
    ended: set[int] = set()
    deadline = time.monotonic() + DEATH_SECONDS
    while processes := _contained() | _shims():
        if time.monotonic() > deadline:
            raise RuntimeError(f"processes of containers do not end: {sorted(processes)}")
        ended |= processes
        kill(processes)
        time.sleep(0.05)
    return [f"{len(ended)} processes of containers"] if ended else []


def unmount() -> list[str]:
    """Unmount everything below our folders, the deepest first; return how many mounts there were."""
    points = [_unescaped(line.split()[4]) for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    ours = [point for point in points if any(point.is_relative_to(folder) for folder in (RUN, STATE))]
    for point in sorted(ours, key=lambda point: len(point.parts), reverse=True):
        subprocess.run(["/usr/bin/umount", "--lazy", str(point)], check=True)
    return [f"{len(ours)} mounts"] if ours else []


def remove_cgroups() -> list[str]:
    """Remove the pods' control groups, of every hierarchy; return which there were."""
    roots = _cgroup_roots()
    for root in roots:
        for folder, _, _ in os.walk(root, topdown=False):
            Path(folder).rmdir()
    return [f"control group {root}" for root in roots]


def _cgroup_roots() -> list[Path]:
    """Version 2 has one hierarchy; version 1 one for each controller, some under two names."""
    top = Path("/sys/fs/cgroup")
    return sorted({folder.resolve() for pattern in (CGROUP, f"*/{CGROUP}") for folder in top.glob(pattern)})


def _contained() -> set[int]:
    folders = [Path(folder) for root in _cgroup_roots() for folder, _, _ in os.walk(root)]
    return {int(pid) for folder in folders for pid in _read(folder / "cgroup.procs").split()}


def _shims() -> set[int]:
    lines = {pid: _read(Path("/proc", str(pid), "cmdline")) for pid in process_table()}
    return {pid for pid, line in lines.items() if "containerd-shim" in line and str(RUN) in line}


def _read(path: Path) -> str:
    """Return what the kernel tells of a process or a group, nothing if it has gone meanwhile."""
    try:
        return path.read_text()
    except OSError:
        return ""


def _unescaped(text: str) -> Path:
    """Spaces and the like are octal numbers in the kernel's list of mounts."""
    return Path(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text))
