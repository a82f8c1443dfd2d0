"""`python -m tests.bench.stage_process STAGE --task … --scratch …`: a stage program as it is shipped, and what it took.

Its last line of output is `{"seconds", "cpu", "peak"}`: peak is resident memory in bytes, of this program alone.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rehearsal.worker.__main__ import main
from tests.tools import ROOT


@dataclass(frozen=True)
class Taken:
    """What a stage took: wall seconds, seconds of CPU, bytes of memory at its most."""

    seconds: float
    cpu: float
    peak: int


def run_stage(stage: str, task: Path, env: Mapping[str, str] | None = None) -> Taken:
    """Run the stage of a task file in a process of its own; `env` is added to its environment."""
    scratch = task.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    paths = ["--task", str(task), "--scratch", str(scratch), "--termination-log", str(task.with_name("word.json"))]
    command = [sys.executable, "-m", "tests.bench.stage_process", stage, *paths]
    ended = subprocess.run(command, cwd=ROOT, env=os.environ | (env or {}), capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"{stage} ended with {ended.returncode}: {ended.stderr}")
    return Taken(**json.loads(ended.stdout.splitlines()[-1]))


def _peak() -> int:
    # The kernel's own mark of this program: `ru_maxrss` would remember the process that started it.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


if __name__ == "__main__":
    started = time.monotonic()
    code = main()
    taken = {"seconds": time.monotonic() - started, "cpu": time.process_time(), "peak": _peak()}
    print(json.dumps(taken), flush=True)
    sys.exit(code)
