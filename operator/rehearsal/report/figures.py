"""Bar charts as inline SVG: the same data gives the same bytes, and colours follow the page's light or dark theme.

Text stays text (selectable, read aloud, in the page's font). Names are drawn literally, never as matplotlib's mathematics.
"""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rehearsal.report.contents import Comparison, ReportData
from rehearsal.report.statistics import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK = "#010203"
"""A colour nothing else has: replaced by the page's own text colour."""
PALETTE = ("#8a8f98", "#0a7bc2", "#d06a00", "#1a9a72", "#b0609a", "#b59b00", "#4aa3d8", "#d55e00")
"""After Okabe and Ito's colours, which most colour-blind readers can tell apart; the first is for what is compared against."""
STYLE = {
    "svg.hashsalt": "rehearsal",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "font.size": 10.0,
}


@dataclass(frozen=True)
class Series:
    """One bar in every group, in percent; None leaves the bar out. Intervals are drawn as whiskers."""

    name: str
    values: Sequence[float | None]
    intervals: Sequence[Interval | None]


def shares_chart(reports: Mapping[str, ReportData]) -> str | None:
    """Draw elicited against true shares by category; None when no report has shares."""
    known = {name: r.elicitation.shares for name, r in reports.items() if r.elicitation and r.elicitation.shares}
    if not known:
        return None
    rows = {row.name: row for shares in known.values() for row in shares.categories}
    truth = [None if row.true_share is None else row.true_share * 100 for row in rows.values()]
    series = [Series("true", truth, [None] * len(rows))] if any(value is not None for value in truth) else []
    for name, shares in known.items():
        own = {row.name: row.elicited for row in shares.categories}
        found = [own.get(category) for category in rows]
        series.append(
            Series(
                f"elicited ({name})" if len(known) > 1 else "elicited",
                [None if share is None else share.share * 100 for share in found],
                [None if share is None else _percent(share.interval) for share in found],
            )
        )
    return bar_chart("shares", "Shares of instructions by category, in percent", list(rows), series)


def scores_chart(reports: Mapping[str, ReportData]) -> str | None:
    """Draw the scores of the base model and of each run's tuned model by task; None when no report has scores."""
    known = {name: {row.name: row for row in r.evaluation.tasks} for name, r in reports.items() if r.evaluation}
    if not known:
        return None
    tasks = list(dict.fromkeys(task for rows in known.values() for task in rows))
    first = next(iter(known.values()))
    series = [_scores("base", [first.get(task) for task in tasks], base=True)]
    series += [_scores(name, [rows.get(task) for task in tasks], base=False) for name, rows in known.items()]
    return bar_chart("scores", "Scores by task, in percent, with 95 % intervals", tasks, series)


def bar_chart(key: str, title: str, labels: Sequence[str], series: Sequence[Series]) -> str:
    """Return a chart of horizontal bars grouped by label as one `<svg>` element whose ids start with `key`."""
    import matplotlib as mpl  # noqa: PLC0415 - takes a second to load, and only the report stage draws
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 0.7 + len(labels) * (0.18 + 0.17 * len(series))), layout="constrained")
        FigureCanvasSVG(figure)
        figure.patch.set_visible(False)
        axes = figure.add_subplot()
        axes.patch.set_visible(False)
        height = 0.8 / len(series)
        for number, one in enumerate(series):
            _draw(axes, one, number, height)
        axes.set_yticks(range(len(labels)), labels)
        axes.invert_yaxis()
        axes.set_xlim(left=0)
        axes.grid(axis="x", alpha=0.25, color=INK)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside upper left", ncols=4, frameon=False)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return _inline(buffer.getvalue(), key, title)


def _draw(axes: "Axes", series: Series, number: int, height: float) -> None:
    places = [place for place, value in enumerate(series.values) if value is not None]
    values = [value for value in series.values if value is not None]
    intervals = [series.intervals[place] or Interval(series.values[place] or 0, series.values[place] or 0) for place in places]
    whiskers = [
        [max(0.0, value - i.low) for value, i in zip(values, intervals, strict=True)],
        [max(0.0, i.high - value) for value, i in zip(values, intervals, strict=True)],
    ]
    shown = any(series.intervals[place] for place in places)
    axes.barh(
        [place - 0.4 + height * (number + 0.5) for place in places],
        values,
        height=height * 0.9,
        color=PALETTE[number % len(PALETTE)],
        label=series.name,
        xerr=whiskers if shown else None,
        error_kw={"ecolor": INK, "elinewidth": 1, "capsize": 2},
    )


def _scores(name: str, rows: Sequence[Comparison | None], *, base: bool) -> Series:
    scores = [None if row is None else (row.base if base else row.tuned) for row in rows]
    return Series(
        name,
        [None if score is None else score.value * 100 for score in scores],
        [None if score is None else _percent(score.interval) for score in scores],
    )


def _percent(interval: Interval) -> Interval:
    return Interval(interval.low * 100, interval.high * 100)


def _inline(document: str, key: str, title: str) -> str:
    """Cut the `<svg>` element out of the document, tell its ids from those of the page's other figures, and give it a name."""
    svg = document[document.index("<svg") :].rstrip()
    svg = re.sub(r'\b(id="|xlink:href="#)', rf"\g<1>{key}-", svg).replace("url(#", f"url(#{key}-")
    svg = svg.replace(INK, "currentColor").replace("*{stroke", f"#{key}-figure *{{stroke")
    return svg.replace("<svg ", f'<svg id="{key}-figure" role="img" aria-label="{title}" ', 1)
