"""The one reader of YAML from outside: one document of mappings, lists and plain values, with the line of every field.

Not read, but refused by line: anchors, aliases, tags, keys that are written twice or are no text, NaN and infinity.
Plain values mean what kubectl takes them for: `1e-6` is a number, a date is text. Base 60 (`1:30`) is text.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from rehearsal.outside.json_text import MAX_DIGITS
from rehearsal.outside.text import without_quotes
from rehearsal.outside.unreadable import Unreadable

MAX_BYTES = 256 * 2**10
MAX_DEPTH = 50
MAX_KEY = 1000

_NULL = ("", "~", "null", "Null", "NULL")
_TRUE, _FALSE = ("true", "yes", "on"), ("false", "no", "off")
_INTEGER = re.compile(r"([-+]?)(?:0b([01_]+)|0x([0-9a-fA-F_]+)|0o?([0-7_]+)|(0|[1-9][0-9_]*))")
_BASES = (2, 16, 8, 10)
_REAL = re.compile(r"[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?")
_NO_NUMBER = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


@dataclass
class _Place:
    """Where a value is written, and what lies in it: by key, or by `[0]`, `[1]` and so on."""

    line: int = 1
    inner: dict[str, "_Place"] = field(default_factory=dict)


@dataclass(frozen=True)
class Document:
    """`value` is what the YAML says."""

    value: object
    _root: _Place

    def line(self, path: str) -> int:
        """Return the line of a field (`spec.tasks[0].uri`), or of the nearest one around it that is written."""
        place = self._root
        while keys := [key for key in place.inner if path == key or path.startswith((f"{key}.", f"{key}["))]:
            key = max(keys, key=len)
            place, path = place.inner[key], path[len(key) :].removeprefix(".")
        return place.line


@dataclass
class _Open:
    """A list or mapping that is being read: its path, and the key whose value comes next."""

    path: str
    place: _Place
    value: list[object] | dict[str, object]
    key: str | None = None

    @property
    def next(self) -> str:
        """The path of the value that comes next."""
        return f"{self.path}[{len(self.value)}]" if isinstance(self.value, list) else f"{self.path}.{self.key}".lstrip(".")


@dataclass
class _Builder:
    """Takes parser events one by one, without recursion."""

    values: list[object] = field(default_factory=list)
    root: _Place = field(default_factory=_Place)
    levels: list[_Open] = field(default_factory=list)

    def take(self, event: yaml.Event) -> None:
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.NodeEvent):
            _refuse_references(event, line)
        if isinstance(event, yaml.DocumentStartEvent) and self.values:
            raise Unreadable("begins a second document; write one", line)
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event, line)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._open([], line)
        elif isinstance(event, yaml.MappingStartEvent):
            self._open({}, line)
        elif isinstance(event, yaml.CollectionEndEvent):
            self.levels.pop()

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> None:
        text = _whole(event.value, line)
        level = self.levels[-1] if self.levels else None
        if level and isinstance(level.value, dict) and level.key is None:
            if text in level.value:
                level.key = text
                raise Unreadable("has a key for the second time in one mapping; keep one of the two", line, twice=level.next)
            if len(text) > MAX_KEY:
                raise Unreadable(f"has a key of more than {MAX_KEY} characters", line)
            level.key = text
            level.place.inner[text] = _Place(line)
        else:
            self._place(_meaning(text, line) if event.implicit[0] else text, line)

    def _open(self, value: list[object] | dict[str, object], line: int) -> None:
        if self.levels and isinstance(self.levels[-1].value, dict) and self.levels[-1].key is None:
            raise Unreadable("has a list or mapping for a key; write a plain text", line)
        if len(self.levels) == MAX_DEPTH:
            raise Unreadable(f"is nested too deeply; at most {MAX_DEPTH} levels are read", line)
        path = self.levels[-1].next if self.levels else ""
        self.levels.append(_Open(path, self._place(value, line), value))

    def _place(self, value: object, line: int) -> _Place:
        """Put a value where it belongs, and return the place."""
        if not self.levels:
            self.values.append(value)
            return self.root
        level = self.levels[-1]
        if isinstance(level.value, list):
            level.value.append(value)
            return level.place.inner.setdefault(f"[{len(level.value) - 1}]", _Place(line))
        key, level.key = str(level.key), None
        level.value[key] = value
        return level.place.inner[key]


def read_yaml(data: bytes, most: int = MAX_BYTES) -> object:
    """Return the value of a YAML text (None where it is empty), or raise Unreadable with the line."""
    return read_document(data, most).value


def read_document(data: bytes, most: int = MAX_BYTES) -> Document:
    """Return the value of a YAML text with the lines of its fields, or raise Unreadable with the line."""
    if len(data) > most:
        raise Unreadable(f"is longer than {most // 2**10} KiB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable("is not UTF-8", data.count(b"\n", 0, error.start) + 1) from None
    builder = _Builder()
    for event in _events(text):
        builder.take(event)
    return Document(builder.values[0] if builder.values else None, builder.root)


def _events(text: str) -> Iterator[yaml.Event]:
    loader = None
    try:
        loader = yaml.SafeLoader(text)
        while loader.check_event():
            yield loader.get_event()  # type: ignore[no-untyped-call]
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, int(error.position)) + 1
        raise Unreadable("holds a control character; remove it", line) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Unreadable(f"is not YAML: {_problem(error)}", mark.line + 1 if mark else 1) from None
    except (ValueError, OverflowError, IndexError) as error:  # an escape that names no character, a directive that ends early
        if isinstance(error, Unreadable):
            raise
        raise Unreadable("is not YAML: an escape or directive that means nothing", loader.line + 1 if loader else 1) from None


def _problem(error: yaml.MarkedYAMLError) -> str:
    """Return the parser's words without the pieces of the text that it puts in quotes."""
    return without_quotes(" ".join((error.problem or error.context or "cannot be parsed").split()))


def _refuse_references(event: yaml.NodeEvent, line: int) -> None:
    if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
        raise Unreadable("has an anchor or alias (& or *); write the value out, or put it in quotes", line)
    if getattr(event, "tag", None) is not None:
        raise Unreadable("has a tag (!); tags are not read, write the value plainly or put it in quotes", line)


def _whole(text: str, line: int) -> str:
    """Join surrogate pairs, which JSON escapes write; halves of one are refused."""
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise Unreadable("holds half of a surrogate pair: not valid Unicode", line) from None


def _meaning(plain: str, line: int) -> object:
    """Return what a value without quotes stands for."""
    if plain in _NULL:
        return None
    if plain in (plain.lower(), plain.upper(), plain.capitalize()) and plain.lower() in _TRUE + _FALSE:
        return plain.lower() in _TRUE
    if _NO_NUMBER.fullmatch(plain):
        raise Unreadable("holds NaN or infinity; write a number", line)
    if not (_INTEGER.fullmatch(plain) or _REAL.fullmatch(plain)):
        return plain
    if len(plain) > MAX_DIGITS:
        raise Unreadable(f"holds a number that is too long; at most {MAX_DIGITS} digits are read, a text stands in quotes", line)
    return _number(plain, line)


def _number(plain: str, line: int) -> int | float | str:
    if match := _INTEGER.fullmatch(plain):
        sign, *written = match.groups()
        digits, base = next((text, base) for text, base in zip(written, _BASES, strict=True) if text is not None)
        digits = digits.replace("_", "")
        return int(sign + digits, base) if digits else plain
    value = float(plain.replace("_", ""))
    if math.isinf(value):
        raise Unreadable("holds a number that is too large", line)
    return value
