"""Lines of the tables that hold one run or several side by side: scores against the base model, shares against the truth. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rehearsal.api.messages import Refused
from rehearsal.report.contents import Comparison, ReportData, Score, Share


class Incomparable(Refused):
    """The runs were not measured against the same thing."""

    reason = "Incomparable"


@dataclass(frozen=True)
class ScoreLine:
    """One model's score on one task, or its mean over a role's tasks. `against` is None for the base model itself."""

    task: str
    role: str
    model: str
    questions: int
    score: Score
    against: Comparison | None


@dataclass(frozen=True)
class ShareLine:
    """One category: its true share where known, and what each run elicited, in the runs' order."""

    category: str
    truth: float | None
    elicited: tuple[Share | None, ...]


def score_lines(reports: Mapping[str, ReportData]) -> list[ScoreLine]:
    """Return the base model's line and one a run for every task and role, or raise Incomparable naming the runs.

    Runs without an evaluation have no line. A role of one task is that task, and is not repeated.
    """
    evaluated = {name: report.evaluation for name, report in reports.items() if report.evaluation}
    if len({evaluation.baseline for evaluation in evaluated.values()}) > 1:
        raise Incomparable(
            f"{', '.join(evaluated)} were evaluated against different base models or tasks; compare runs that share both"
        )
    lines: list[ScoreLine] = []
    tables = {name: dict(_rows(evaluation.tasks, evaluation.roles)) for name, evaluation in evaluated.items()}
    for task, first in next(iter(tables.values()), {}).items():
        lines.append(ScoreLine(task, first.role, "base", first.questions, first.base, None))
        for name, table in tables.items():
            row = table[task]
            lines.append(ScoreLine(task, row.role, name, row.questions, row.tuned, row))
    return lines


def reconstructing(reports: Mapping[str, ReportData]) -> list[str]:
    """Return the names of the runs that have shares: the columns of the lines that `share_lines` returns."""
    return [name for name, report in reports.items() if report.elicitation and report.elicitation.shares]


def share_lines(reports: Mapping[str, ReportData]) -> list[ShareLine]:
    """Return a line for every category of any run, and a last one for what matched none."""
    known = [r.elicitation.shares for r in reports.values() if r.elicitation and r.elicitation.shares]
    if not known:
        return []
    truth = {row.name: row.true_share for shares in known for row in shares.categories}
    elicited = [{row.name: row.elicited for row in shares.categories} for shares in known]
    lines = [ShareLine(name, share, tuple(own.get(name) for own in elicited)) for name, share in truth.items()]
    return [*lines, ShareLine("none of these", None, tuple(shares.other for shares in known))]


def _rows(tasks: list[Comparison], roles: list[Comparison]) -> Iterator[tuple[str, Comparison]]:
    for row in tasks:
        yield row.name, row
    for row in roles:
        if (count := sum(task.role == row.name for task in tasks)) > 1:
            yield f"mean of {count} {row.name}", row
