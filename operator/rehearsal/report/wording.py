"""How figures are written, on the page and in the terminal alike."""

import re

from rehearsal.report.statistics import Interval

NOTHING = "–"


def percent(share: float | None) -> str:
    """Write a share of 0..1 in percent with one decimal."""
    return NOTHING if share is None else f"{share * 100:.1f}"


def percents(interval: Interval | None) -> str:
    """Write an interval of shares in percent."""
    return NOTHING if interval is None else f"{interval.low * 100:.1f} to {interval.high * 100:.1f}"


def points(value: float | None) -> str:
    """Write a difference in points with its sign, and none where it rounds to nothing."""
    if value is None:
        return NOTHING
    return "0.0" if abs(value) < 0.05 else f"{value:+.1f}".replace("-", "−")


def points_range(interval: Interval) -> str:
    """Write an interval of differences in points."""
    return f"{points(interval.low)} to {points(interval.high)}"


def p_value(value: float) -> str:
    """Write a p-value to three decimals, or as less than the smallest of them."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def number(value: object) -> str:
    """Write a figure of unknown kind: whole numbers grouped by thousands, others to four significant digits, text as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return NOTHING if value is None else str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def words(name: str) -> str:
    """Write a name in camelCase, or with dots or hyphens, as words."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda match: " " + match[1].lower(), name).replace(".", " ").replace("-", " ")
