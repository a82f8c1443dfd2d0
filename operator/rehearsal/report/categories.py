"""Kinds of instruction: a YAML list of {name, pattern, share}, and the shares of a set of instructions. Pure.

Patterns are the user's own regular expressions; one that backtracks without end is not guarded against.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import yaml

from rehearsal.api.messages import Refused
from rehearsal.report.contents import CategoryShare, Share, Shares
from rehearsal.report.statistics import wilson

MAX_CATEGORIES = 100
MAX_NAME = 64
"""What a table and a chart can show."""
ROUNDING = 1e-6
"""By how much written shares may exceed 1 in sum."""


class BadCategories(Refused):
    """The categories file is wrong; the text names the entry."""

    reason = "BadCategories"


@dataclass(frozen=True)
class Category:
    """A kind of instruction: those in which the pattern is found. `share` is its true share, where that is known."""

    name: str
    pattern: re.Pattern[str]
    share: float | None = None


def parse(data: bytes) -> tuple[Category, ...]:
    """Read a categories file, or raise BadCategories naming the entry that is wrong and why."""
    try:
        entries = yaml.safe_load(data)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise BadCategories(f"the categories file is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(entries, list) or not entries:
        raise BadCategories("the categories file must be a list of {name, pattern, share}; share may be left out")
    if len(entries) > MAX_CATEGORIES:
        raise BadCategories(f"the categories file has {len(entries)} entries; at most {MAX_CATEGORIES} can be shown")
    found = tuple(_category(entry, number) for number, entry in enumerate(entries, start=1))
    if twice := [name for name, count in Counter(category.name for category in found).items() if count > 1]:
        raise BadCategories(f"categories are named once each; twice: {', '.join(sorted(twice))}")
    if (total := sum(category.share or 0.0 for category in found)) > 1 + ROUNDING:
        raise BadCategories(f"the categories' shares sum to {total:g}; at most 1 is possible")
    return found


def shares_of(counts: Counter[str | None], categories: Sequence[Category]) -> Shares:
    """Return every category's share of what `classify` said of a set of instructions, and how far it is from the true one."""
    total = counts.total()
    known = [abs(_ratio(counts[c.name], total) - c.share) * 100 for c in categories if c.share is not None]
    return Shares(
        categories=[CategoryShare(name=c.name, elicited=share_of(counts[c.name], total), true_share=c.share) for c in categories],
        other=share_of(counts[None], total),
        biggest_gap=max(known, default=None),
    )


def classify(instruction: str, categories: Sequence[Category]) -> str | None:
    """Return the name of the first category whose pattern is found in the instruction."""
    return next((category.name for category in categories if category.pattern.search(instruction)), None)


def kinds_of(instructions: Iterable[str], categories: Sequence[Category]) -> Counter[str | None]:
    """Return how many instructions are of each category; None counts those of no category."""
    return Counter(classify(text, categories) for text in instructions)


def share_of(count: int, total: int) -> Share:
    """Return a count among a total with its interval."""
    return Share(count=count, share=_ratio(count, total), interval=wilson(count, total))


def _category(entry: object, number: int) -> Category:
    problem = next(_problems(entry), None)
    if problem or not isinstance(entry, dict):
        named = f" ({entry['name']})" if isinstance(entry, dict) and isinstance(entry.get("name"), str) else ""
        raise BadCategories(f"category {number}{named}: {problem}")
    try:
        pattern = re.compile(entry["pattern"])
    except (re.error, RecursionError, OverflowError) as error:
        raise BadCategories(f"category {number} ({entry['name']}): pattern is not a regular expression: {error}") from error
    share = entry.get("share")
    return Category(entry["name"], pattern, None if share is None else float(share))


def _problems(entry: object) -> Iterator[str]:
    if not isinstance(entry, dict):
        yield "must be a mapping with name and pattern"
        return
    if unknown := sorted(str(key) for key in entry.keys() - {"name", "pattern", "share"}):
        yield f"unknown field {', '.join(unknown)}; the fields are name, pattern and share"
    for field in ("name", "pattern"):
        if not isinstance(entry.get(field), str) or not entry[field].strip():
            yield f"{field} must be a text that is not empty"
    if len(str(entry.get("name"))) > MAX_NAME:
        yield f"name is longer than {MAX_NAME} characters"
    share = entry.get("share")
    if share is not None and (isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1):
        yield f"share must be a number from 0 to 1, not {share!r}"


def _ratio(count: int, total: int) -> float:
    return count / total if total else 0.0
