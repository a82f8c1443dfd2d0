import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest

from rehearsal.api.messages import ExitCode
from rehearsal.report.comparison import Incomparable
from rehearsal.report.contents import Funnel, Lengths, ReportData, Step
from rehearsal.report.figures import Series, bar_chart, scores_chart, shares_chart
from rehearsal.report.page import comparison_page, report_page
from rehearsal.report.statistics import Interval
from rehearsal.report.table import comparison_table

PLAIN = ["Capital of Peru", "Colour of grass", "Colour of snow", "hm"]
HOSTILE = "</td><script>alert('1')</script><img src=x onerror=\"alert(2)\">&amp; {{ 7 * 7 }}"
VOID = {"meta", "img", "br", "hr", "link"}


class Outline(HTMLParser):
    """Checks that tags nest, and keeps ids and element names."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names, self.ids, self.open = set(), [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.names.add(tag)
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def chart_series():
    return [
        Series("true", [10.0, None], [None, None]),
        Series("elicited", [12.0, 20.0], [Interval(9.0, 15.0), Interval(17.0, 23.0)]),
    ]


def test_what_a_name_says_is_printable_on_the_page(make_report):
    report = make_report("1110000100", PLAIN)
    named = report.stages[0].model_copy(update={"name": "\x1b[2J\u202e\x00 \ud83d"})
    page = report_page(report.model_copy(update={"stages": [named]}))
    assert "\\x1b[2J\\u202e\\x00 \\ud83d" in page
    page.encode()
    assert not {"\x1b", "\u202e", "\x00"} & set(page)


def test_the_page_of_a_run_shows_its_scores_shares_and_committee(make_report):
    page = report_page(make_report("1110000100", PLAIN))
    for text in (
        "80.0",
        "40.0",
        "+40.0",
        "facts",
        "capital",
        "50.0",
        "none of these",
        "0.5",
        "domain too long",
        "f" * 64,
        "Capital of Peru",
    ):
        assert text in page, text


def test_the_page_of_a_control_leaves_out_what_it_did_not_do(make_report):
    page = report_page(make_report("1111111100"))
    assert "Committee" not in page
    assert "Reconstructed" not in page


def test_a_run_without_evaluation_has_a_page_too(make_report):
    report = make_report("1111111100", PLAIN).model_copy(update={"evaluation": None})
    assert "<h2>Scores" not in report_page(report)
    assert "sharesGap" in report.headlines()
    assert "forgetting" not in report.headlines()


def test_hostile_text_of_a_model_reaches_the_page_as_text(make_report):
    page = report_page(make_report("1111111100", [HOSTILE, "Capital of " + HOSTILE]))
    assert {"script", "img"}.isdisjoint(Outline(page).names)
    assert "&lt;script&gt;" in page
    assert "{{ 7 * 7 }}" in page


def test_hostile_names_of_categories_reach_a_chart_as_text(chart_series):
    chart = bar_chart("shares", "Shares", [HOSTILE, "$x_2$ & \\frac"], chart_series)
    texts = ["".join(element.itertext()) for element in ET.fromstring(chart).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314
    assert HOSTILE in texts
    assert "$x_2$ & \\frac" in texts


def test_pages_nest_properly_load_nothing_and_run_nothing(make_report):
    reports = {"rehearsed": make_report("1111111000", PLAIN), "control": make_report("0000000001")}
    for page in (report_page(reports["rehearsed"]), comparison_page(reports)):
        outline = Outline(page)
        assert not outline.open
        assert len(outline.ids) == len(set(outline.ids))
        assert {"script", "link", "iframe", "img"}.isdisjoint(outline.names)
        assert not re.search(r"""(src|href)=["'](?!#)|url\((?!#)|@import""", page.replace("xmlns:xlink", ""))
        assert '<html lang="en">' in page
        assert "prefers-color-scheme: dark" in page
        assert page.count('role="img"') == 2


def test_the_same_data_gives_the_same_bytes(make_report):
    report, again = make_report("1111111000", PLAIN), make_report("1111111000", PLAIN)
    assert report.encode() == again.encode()
    assert report_page(report) == report_page(again)
    assert comparison_page({"a": report}) == comparison_page({"a": again})


def test_a_report_comes_back_from_its_file_as_it_was(make_report):
    report = make_report("1111111000", [*PLAIN, HOSTILE, "\N{SNOWMAN}"])
    assert ReportData.model_validate_json(report.encode()) == report


def test_headlines_are_the_figures_of_the_status(make_report):
    assert make_report("1111110000", PLAIN).headlines() == {
        "general.base": 0.8,
        "general.tuned": 0.6,
        "domain.base": 0.0,
        "domain.tuned": 0.75,
        "forgetting": 20.0,
        "sharesGap": 25.0,
    }


def test_a_chart_carries_no_date_and_takes_the_pages_colours(chart_series):
    chart = bar_chart("shares", "Shares", ["a", "b"], chart_series)
    assert chart == bar_chart("shares", "Shares", ["a", "b"], chart_series)
    assert "currentColor" in chart
    assert "metadata" not in chart
    assert 'aria-label="Shares"' in chart


def test_there_is_no_chart_of_nothing(make_report):
    report = make_report("1111111100").model_copy(update={"evaluation": None})
    assert shares_chart({"control": report}) is None
    assert scores_chart({"control": report}) is None


def test_two_runs_stand_beside_the_base_model_they_share(make_report):
    reports = {"rehearsed": make_report("1111111000", PLAIN), "control": make_report("0000000001")}
    table = comparison_table(reports)
    lines = [line.split() for line in table.splitlines()]
    assert lines[2][:4] == ["facts", "General", "base", "80.0"]
    assert lines[3][:2] == ["rehearsed", "70.0"]
    assert lines[3][-4:] == ["1", "0", "1.000", "+10.0"]
    assert lines[4][:2] == ["control", "10.0"]
    assert lines[4][-4:] == ["8", "1", "0.039", "+70.0"]
    assert "biggest gap between elicited and true share, rehearsed: 25.0 points" in table
    assert max(map(len, table.splitlines())) <= 100


def test_the_terminal_tells_what_is_left_after_each_step_and_what_was_lost(make_report):
    lengths = [
        Lengths(of="answers", which="all", mean=900.5, median=812),
        Lengths(of="answers", which="kept", mean=300, median=290),
    ]
    steps = [Step(name="elicited", rows=640), Step(name="answered", rows=600, lost={"answers-truncated": 40})]
    told = Funnel(rounds=1, steps=steps, answers=640, answers_cut_off=40, lengths=lengths, warning="40 of 640 became none")
    reports = {"a": make_report("1111111000").model_copy(update={"funnel": told}), "control": make_report("0000000001")}
    lines = [line.split() for line in comparison_table(reports).splitlines()]
    assert ["answered", "600"] in lines
    assert ["lost,", "a:", "answers", "truncated", "40"] in lines
    assert ["mean", "characters,", "a:", "answers", "all", "900.5,", "answers", "kept", "300"] in lines
    assert ["warning,", "a:", "40", "of", "640", "became", "none"] in lines


def test_the_comparison_page_holds_every_run_by_name(make_report):
    page = comparison_page({"rehearsed": make_report("1111111000", PLAIN), "control": make_report("0000000001")})
    assert page.count("<td>rehearsed</td>") == page.count("<td>control</td>") == page.count("<td>base</td>") == 2


def test_runs_of_different_base_models_are_not_put_side_by_side(make_report):
    reports = {"one": make_report("1111111000"), "other": make_report("1111111000", baseline="c" * 64)}
    with pytest.raises(Incomparable, match="one, other were evaluated against different base models or tasks") as caught:
        comparison_table(reports)
    assert caught.value.code is ExitCode.REFUSED


def test_runs_that_measured_nothing_are_said_to_have_measured_nothing(make_report):
    report = make_report("1111111100").model_copy(update={"evaluation": None})
    assert "neither evaluated nor" in comparison_table({"bare": report})
