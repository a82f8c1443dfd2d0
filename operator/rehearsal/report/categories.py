"""Kinds of instruction: a YAML list of {name, pattern, share}, and the shares of a set of instructions.

Patterns are the user's own regular expressions. They run in the bounded child, where one that backtracks without end is ended.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from rehearsal.api.messages import Refused
from rehearsal.outside.bounded import Bounded, OutOfBounds
from rehearsal.outside.text import is_printable, shown
from rehearsal.outside.unreadable import Unreadable
from rehearsal.outside.yaml_text import read_yaml
from rehearsal.report.contents import CategoryShare, Share, Shares
from rehearsal.report.statistics import wilson

MAX_CATEGORIES = 100
MAX_NAME = 64
"""What a table and a chart can show."""
MAX_PATTERN = 1000
PROGRAM = "rehearsal.report.patterns"
SECONDS = 10
"""Of processor time, to look for all patterns in `AT_ONCE` instructions."""
MEMORY = 2**29
AT_ONCE = 100
ROUNDING = 1e-6
"""By how much written shares may exceed 1 in sum."""


class BadCategories(Refused):
    """The categories file is wrong; the text names the entry."""

    reason = "BadCategories"


@dataclass(frozen=True)
class Category:
    """A kind of instruction: those in which the pattern is found. `share` is its true share, where that is known."""

    name: str
    pattern: str
    share: float | None = None


def parse(data: bytes) -> tuple[Category, ...]:
    """Read a categories file, or raise BadCategories naming the entry that is wrong and why."""
    try:
        entries = read_yaml(data)
    except Unreadable as error:
        raise BadCategories(f"the categories file: {error}") from error
    if not isinstance(entries, list) or not entries:
        raise BadCategories("the categories file must be a list of {name, pattern, share}; share may be left out")
    if len(entries) > MAX_CATEGORIES:
        raise BadCategories(f"the categories file has {len(entries)} entries; at most {MAX_CATEGORIES} can be shown")
    found = tuple(_category(entry, number) for number, entry in enumerate(entries, start=1))
    if twice := [name for name, count in Counter(category.name for category in found).items() if count > 1]:
        raise BadCategories(f"categories are named once each; twice: {', '.join(sorted(twice))}")
    if (total := sum(category.share or 0.0 for category in found)) > 1 + ROUNDING:
        raise BadCategories(f"the categories' shares sum to {total:g}; at most 1 is possible")
    _check_patterns(found)
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


def classify(instructions: Iterable[str], categories: Sequence[Category]) -> Iterator[tuple[str, str | None]]:
    """Yield every instruction with the name of the first category whose pattern is found in it.

    Raises BadCategories, naming the category, where a pattern takes too long.
    """
    waiting = iter(instructions)
    with _bounded(categories) as patterns:
        while texts := list(islice(waiting, AT_ONCE)):
            try:
                found: Any = patterns.call(texts) if categories else [None] * len(texts)
            except OutOfBounds:
                raise _culprit(texts, categories) from None
            names = (None if index is None else categories[index].name for index in found)
            yield from zip(texts, names, strict=True)


def kinds_of(instructions: Iterable[str], categories: Sequence[Category]) -> Counter[str | None]:
    """Return how many instructions are of each category; None counts those of no category."""
    return Counter(name for _, name in classify(instructions, categories))


def share_of(count: int, total: int) -> Share:
    """Return a count among a total with its interval."""
    return Share(count=count, share=_ratio(count, total), interval=wilson(count, total))


def _category(entry: object, number: int) -> Category:
    problem = next(_problems(entry), None)
    if problem or not isinstance(entry, dict):
        named = f" ({shown(entry['name'], MAX_NAME)})" if isinstance(entry, dict) and isinstance(entry.get("name"), str) else ""
        raise BadCategories(f"category {number}{named}: {problem}")
    share = entry.get("share")
    return Category(entry["name"], entry["pattern"], None if share is None else float(share))


def _problems(entry: object) -> Iterator[str]:
    if not isinstance(entry, dict):
        yield "must be a mapping with name and pattern"
        return
    if unknown := sorted(str(key) for key in entry.keys() - {"name", "pattern", "share"}):
        yield f"unknown field {shown(', '.join(unknown), 100)}; the fields are name, pattern and share"
    for field in ("name", "pattern"):
        if not isinstance(entry.get(field), str) or not entry[field].strip():
            yield f"{field} must be a text that is not empty"
    if not is_printable(str(entry.get("name"))):
        yield "name holds characters that cannot be printed; leave them out"
    if len(str(entry.get("pattern"))) > MAX_PATTERN:
        yield f"pattern is longer than {MAX_PATTERN} characters"
    if len(str(entry.get("name"))) > MAX_NAME:
        yield f"name is longer than {MAX_NAME} characters"
    share = entry.get("share")
    if share is not None and (isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1):
        yield f"share must be a number from 0 to 1, not {shown(repr(share), 40)}"


def _bounded(categories: Sequence[Category]) -> Bounded:
    return Bounded(PROGRAM, [category.pattern for category in categories], seconds=SECONDS, memory=MEMORY)


def _check_patterns(categories: Sequence[Category]) -> None:
    """Refuse the first pattern that cannot be compiled."""
    with _bounded(categories) as patterns:
        try:
            answer = patterns.call([])
        except OutOfBounds as error:
            raise BadCategories(f"reading the categories' patterns {error}; write simpler ones") from None
    if isinstance(answer, dict):
        bad, why = int(answer["bad"]), shown(str(answer["why"]), 100)
        raise BadCategories(f"category {bad + 1} ({categories[bad].name}): pattern is not a regular expression: {why}")


def _culprit(texts: Sequence[str], categories: Sequence[Category]) -> BadCategories:
    """Return the refusal of the pattern that goes over a bound on these texts."""
    for category in categories:
        with _bounded([category]) as pattern:
            try:
                pattern.call(texts)
            except OutOfBounds as error:
                return BadCategories(
                    f"category {category.name}: its pattern {error} on an instruction; write one that repeats less"
                )
    return BadCategories("the categories' patterns take too long together; write fewer, or simpler ones")


def _ratio(count: int, total: int) -> float:
    return count / total if total else 0.0
