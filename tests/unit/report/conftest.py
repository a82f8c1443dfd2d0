"""Reports small enough to count by hand."""

from collections.abc import Callable, Iterator, Sequence

import pytest

from rehearsal.report.categories import parse
from rehearsal.report.contents import ReportData, StageFigures
from rehearsal.report.reconstruction import elicitation, judging
from rehearsal.report.scores import collect, evaluation

CATEGORIES = b"""
- {name: capital, pattern: "^Capital of ", share: 0.5}
- {name: colour, pattern: "^Colour of ", share: 0.4}
"""


def answers(task: str, role: str, right: str) -> Iterator[dict[str, object]]:
    """Rows of an evaluation: `right` holds a 1 or a 0 for each question."""
    for number, mark in enumerate(right):
        yield {"id": f"q{number}", "task": task, "role": role, "correct": mark == "1", "metric": "exact_match"}


@pytest.fixture
def make_report() -> Callable[..., ReportData]:
    """Build a report of one run."""
    return made


def made(tuned: str, instructions: Sequence[str] = (), baseline: str = "b" * 64) -> ReportData:
    """A report of a run whose base model had 8 of 10 general questions right, and whose tuned model had `tuned`."""
    base = collect([*answers("facts", "General", "1111111100"), *answers("new", "Domain", "0000")], "base")
    after = collect([*answers("facts", "General", tuned), *answers("new", "Domain", "1110")], "tuned")
    chosen = [
        {"instruction": text, "answer": f"About {text}", "member": "base" if i % 2 else "peer", "mean": 4.5, "decided": rule}
        for (i, text), rule in zip(enumerate(instructions), ["mean", "base", "only", "minimum"] * len(instructions), strict=False)
    ]
    return ReportData(
        stages=[StageFigures(name="mix", fingerprint="f" * 64, rows=12, refused={"domain-too-long": 3})],
        elicitation=elicitation(instructions, {"tooLong": 3}, parse(CATEGORIES)) if instructions else None,
        judging=judging(chosen, {"alpha": 0.5, "bias.base": 0.25, "selfPreference.peer": -0.125}, ["base", "peer"])
        if chosen
        else None,
        mixture={"rehearsalRows": 10, "domainRows": 2},
        training={"steps": 3},
        evaluation=evaluation(base, after, baseline),
    )
