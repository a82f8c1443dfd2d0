"""Holds the two finished runs of the quickstart against marks that were fixed beforehand; exit code 1 if one is missed.

python examples/quickstart/marks.py
"""

import json
import sys
from pathlib import Path
from typing import Any

RUNS = Path(__file__).parent / ".rehearsal" / "default"


def points(report: dict[str, Any], role: str, model: str) -> float:
    """Return a model's score on a role's questions, in points."""
    row = next(row for row in report["evaluation"]["roles"] if row["role"] == role)
    return 100 * float(row[model]["value"])


def marks(tuned: dict[str, Any], control: dict[str, Any]) -> list[tuple[str, float, str, bool]]:
    """Return (what is measured, points, the mark, whether it holds)."""
    gap = float(tuned["elicitation"]["shares"]["biggestGap"])
    base = points(tuned, "General", "base")
    lost, kept = (base - points(report, "General", "tuned") for report in (control, tuned))
    learned = [points(report, "Domain", "tuned") for report in (tuned, control)]
    return [
        ("biggest gap between elicited and true share", gap, "at most 5", gap <= 5),
        ("general points lost without rehearsal", lost, "at least 10", lost >= 10),
        ("general points lost with the reconstructed set", kept, "at most 3", kept <= 3),
        ("domain points with the reconstructed set", learned[0], "at least 80", learned[0] >= 80),
        ("domain points without rehearsal", learned[1], "at least 80", learned[1] >= 80),
    ]


def main() -> int:
    """Print every mark and whether it holds."""
    reports = [json.loads((RUNS / name / "report" / "report.json").read_text()) for name in ("quickstart", "no-rehearsal")]
    found = marks(*reports)
    for what, value, mark, holds in found:
        print(f"{'holds ' if holds else 'MISSED'}  {what:48} {value:6.1f}  {mark}")
    return 0 if all(holds for *_, holds in found) else 1


if __name__ == "__main__":
    sys.exit(main())
