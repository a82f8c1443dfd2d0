"""The page of faults names the tests that hold each row, and no row without one. `make snapshots` writes its last column anew."""

import os
import re
from collections import defaultdict
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs/faults.md"
ROW = re.compile(r"^\| (\d+) \| (.*?) \| (.*?) \| (.*?) \|$", re.M)
RECORD = re.compile(r'"fault": (\d+)')


def holders() -> dict[int, list[str]]:
    """The files that hold each row: tests by their marks, corpora by their records."""
    found: dict[int, set[str]] = defaultdict(set)
    for path in TESTS.rglob("*.py"):
        for number in re.findall(r"mark\.fault\((\d+)\)", path.read_text()):
            found[int(number)].add(path.relative_to(TESTS).as_posix())
    for number in RECORD.findall((TESTS / "data/poisoned.jsonl").read_text()):
        found[int(number)].add("data/poisoned.jsonl")
    return {number: sorted(paths) for number, paths in found.items()}


def test_every_row_is_held_by_the_tests_it_names_and_every_test_has_its_row() -> None:
    held = holders()
    text = PAGE.read_text()

    def named(row: re.Match[str]) -> str:
        files = ", ".join(f"`{path}`" for path in held.get(int(row[1]), []))
        return f"| {row[1]} | {row[2]} | {row[3]} | {files} |"

    written = ROW.sub(named, text)
    if os.environ.get("UPDATE_SNAPSHOTS"):
        PAGE.write_text(written)
    assert {int(row[1]) for row in ROW.finditer(text)} == held.keys()
    assert written == PAGE.read_text(), "run `make snapshots` and read the diff"
