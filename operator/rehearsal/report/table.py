"""The comparison of runs as plain text, for a terminal."""

from collections.abc import Iterable, Mapping, Sequence

from rehearsal.report.comparison import ScoreLine, ShareLine, reconstructing, score_lines, share_lines
from rehearsal.report.contents import Funnel, ReportData
from rehearsal.report.wording import NOTHING, number, p_value, percent, percents, points, words

SCORES = ("task", "role", "model", "score", "95 % interval", "1→0", "0→1", "p", "forgotten")


def comparison_table(reports: Mapping[str, ReportData]) -> str:
    """Return base and runs side by side, name by name: scores, and elicited shares where there are any; in percent and points.

    Raises Incomparable when the runs' base models or tasks differ.
    """
    parts: list[str] = []
    if scores := score_lines(reports):
        starts = [number == 0 or line.task != scores[number - 1].task for number, line in enumerate(scores)]
        parts.append(_table(SCORES, [_score(line, start) for line, start in zip(scores, starts, strict=True)], text=3))
    if shares := share_lines(reports):
        names = reconstructing(reports)
        head = ["elicited", "true", *(column for name in names for column in (name, "95 % interval"))]
        parts.append(_table(head, [_share(line) for line in shares], text=1))
    if gaps := {name: gap for name in reports if (gap := _gap(reports[name])) is not None}:
        parts.append(
            "\n".join(f"biggest gap between elicited and true share, {name}: {gap:.1f} points" for name, gap in gaps.items())
        )
    if funnels := {name: report.funnel for name, report in reports.items() if report.funnel}:
        parts.append(_funnels(funnels))
    return "\n\n".join(parts) or "These runs were neither evaluated nor their instructions classified."


def _score(line: ScoreLine, start: bool) -> list[str]:
    named = [line.task, line.role] if start else ["", ""]
    found = [*named, line.model, percent(line.score.value), percents(line.score.interval)]
    if not (against := line.against):
        return [*found, "", "", "", ""]
    return [*found, str(against.lost), str(against.gained), p_value(against.p_value), points(against.forgetting)]


def _share(line: ShareLine) -> list[str]:
    cells = [(percent(share.share), percents(share.interval)) if share else (NOTHING, "") for share in line.elicited]
    return [line.category, percent(line.truth), *(cell for pair in cells for cell in pair)]


def _funnels(funnels: Mapping[str, Funnel]) -> str:
    """Lay out what is left after each step, run beside run; below it why the others were lost, and what is bent."""
    first = next(iter(funnels.values()))
    rows = [[step.name, *(number(funnel.steps[i].rows) for funnel in funnels.values())] for i, step in enumerate(first.steps)]
    lines = [_table(["instructions", *funnels], rows, text=1)]
    for name, funnel in funnels.items():
        lost = [f"{words(reason)} {number(rows)}" for step in funnel.steps for reason, rows in step.lost.items()]
        lines.append(f"lost, {name}: {', '.join(lost) or 'nothing'}")
        lengths = [f"{length.of} {length.which} {number(length.mean)}" for length in funnel.lengths]
        lines.append(f"mean characters, {name}: {', '.join(lengths)}")
        lines += [f"warning, {name}: {funnel.warning}"] if funnel.warning else []
    return "\n".join(lines)


def _gap(report: ReportData) -> float | None:
    return report.elicitation.shares.biggest_gap if report.elicitation and report.elicitation.shares else None


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], text: int) -> str:
    """Lay out columns: the first `text` of them to the left, figures to the right."""
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    lines.insert(1, ["─" * width for width in widths])
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < text else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
