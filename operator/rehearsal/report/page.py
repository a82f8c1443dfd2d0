"""The HTML pages: one file each, nothing loaded from elsewhere, no script.

Every text is escaped by the template engine; only the charts, which escape their own names, are inserted as markup.
The page's Content-Security-Policy forbids scripts and requests should an escape ever fail.
"""

from collections.abc import Mapping

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from rehearsal.outside.text import shown
from rehearsal.report import wording
from rehearsal.report.comparison import reconstructing, score_lines, share_lines
from rehearsal.report.contents import ReportData
from rehearsal.report.figures import scores_chart, shares_chart

LONGEST = 10_000
FILTERS = ("percent", "percents", "points", "points_range", "p_value", "number", "words")


def report_page(report: ReportData) -> str:
    """Return the page of one run."""
    return _render("report.html", {"tuned": report}, report=report)


def comparison_page(reports: Mapping[str, ReportData]) -> str:
    """Return the page that holds several runs side by side, by name; raises Incomparable as `comparison_table` does."""
    return _render("comparison.html", reports, reports=reports)


def _render(template: str, shown: Mapping[str, ReportData], **values: object) -> str:
    environment = Environment(
        loader=PackageLoader("rehearsal.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.filters |= {name: getattr(wording, name) for name in FILTERS}
    return environment.get_template(template).render(
        scores=score_lines(shown),
        shares=share_lines(shown),
        share_names=reconstructing(shown),
        scores_chart=_markup(scores_chart(shown)),
        shares_chart=_markup(shares_chart(shown)),
        **values,
    )


def _printable(value: object) -> object:
    """Make every text printable on its way to the page; what is markup already was made here."""
    return shown(value, LONGEST, lines=True) if isinstance(value, str) and not isinstance(value, Markup) else value


def _markup(chart: str | None) -> Markup | None:
    return None if chart is None else Markup(chart)  # noqa: S704 - matplotlib escaped the names in it
