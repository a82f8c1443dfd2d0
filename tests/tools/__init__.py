"""Programs in Go that tests run. Each folder is a module of its own; `make tools` builds them all."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def tool(name: str, folder: str = "tests/tools") -> str:
    """Return the path of a program, built now if it was not."""
    build = [str(ROOT / "scripts" / "build-tool.sh"), f"{folder}/{name}"]
    return subprocess.run(build, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
