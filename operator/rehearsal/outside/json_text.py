"""The one reader of JSON from outside: UTF-8, bounded in size, depth and length of numbers, with one error that names the line."""

import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from rehearsal.outside.unreadable import Unreadable

MAX_BYTES = 256 * 2**20
"""Holds the tokenizer.json of the largest vocabularies several times over."""
MAX_DEPTH = 100
MAX_DIGITS = 100
"""Holds the 10**30 that stands for "no limit" in many a tokenizer_config.json; a float can still hold it."""

Own = Any
"""JSON whose shape the reader knows."""

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[\]{}:,]|[^\s"\[\]{}:,]+', re.DOTALL)
_NUMBER = re.compile(r"-?\d+((?:\.\d+)?(?:[eE][-+]?\d+)?)")
_HALF = re.compile(r"\\u[dD][89a-fA-F]")


class _Fault(ValueError):
    """What the standard reader would let pass; the text is the problem."""


def read_json(
    data: bytes, *, most: int = MAX_BYTES, constants: bool = False, keys_once: bool = False, halves: bool = False
) -> object:
    """Return the value of a JSON text, or raise Unreadable.

    `constants` lets `NaN` and `Infinity` pass, which model configurations hold; `keys_once` refuses a key that is written
    twice in one object; `halves` lets halves of surrogate pairs pass, which a service leaves when it cuts a text.
    """
    if len(data) > most:
        raise Unreadable(f"is longer than {_size(most)}")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line, byte = data.count(b"\n", 0, error.start) + 1, error.start - data.rfind(b"\n", 0, error.start)
        raise Unreadable(f"is not UTF-8 at byte {byte}; save it as UTF-8", line) from None
    with _faults_told(text, constants, keys_once):
        value: object = _decoder(constants, keys_once).decode(text)
    _refuse_depth(text, value)
    if not halves and (half := _HALF.search(text)) and not _is_whole(value):
        raise Unreadable("holds half of a surrogate pair: not valid Unicode", text.count("\n", 0, half.start()) + 1)
    return value


def read_json_item(text: str, place: int) -> tuple[object, int]:
    """Return the JSON value that begins at a place of a longer text, and where it ends, or raise Unreadable."""
    with _faults_told(text, constants=False, keys_once=False):
        value, end = _decoder(constants=False, keys_once=False).raw_decode(text, place)
    _refuse_depth(text[place:end], value)
    return value, end


def read_own_json(text: str | bytes) -> Own:
    """Return the value of JSON that this program wrote, or the API server that it trusts: fast, and without bounds.

    Raises ValueError.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _decoder(constants: bool, keys_once: bool) -> json.JSONDecoder:
    return json.JSONDecoder(
        parse_int=_integer,
        parse_float=_real,
        parse_constant=float if constants else _constant,
        object_pairs_hook=_once if keys_once else None,
    )


@contextmanager
def _faults_told(text: str, constants: bool, keys_once: bool) -> Iterator[None]:
    try:
        yield
    except json.JSONDecodeError as error:
        raise Unreadable(f"is not JSON (column {error.colno}: {_problem(error)})", error.lineno) from None
    except RecursionError:
        raise _too_deep(text) from None
    except _Fault as error:
        raise Unreadable(str(error), _line_of_fault(text, constants, keys_once)) from None


def _refuse_depth(text: str, value: object) -> None:
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise _too_deep(text)


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise _Fault(f"holds a number that is too long; at most {MAX_DIGITS} digits are read")
    return int(digits)


def _real(digits: str) -> float:
    if math.isinf(value := float(digits)):
        raise _Fault("holds a number that is too large")
    return value


def _constant(_: str) -> NoReturn:
    raise _Fault("holds NaN or Infinity, which is not JSON; write a number or null")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Fault("has a key twice; keep one of them")
    return found


def _problem(error: json.JSONDecodeError) -> str:
    """The standard library's words for what was expected; none of them quotes the text."""
    return error.msg[:1].lower() + error.msg[1:]


def _too_deep(text: str) -> Unreadable:
    depth = 0
    for piece, line in _tokens(text):
        depth += (piece in "[{") - (piece in "]}")
        if depth > MAX_DEPTH:
            return Unreadable(f"is nested too deeply; at most {MAX_DEPTH} levels are read", line)
    return Unreadable(f"is nested too deeply; at most {MAX_DEPTH} levels are read")


def _line_of_fault(text: str, constants: bool, keys_once: bool) -> int | None:
    """Return the line of the first token that a hook refuses, or of the first key that is written twice."""
    keys: list[set[str]] = []
    previous = ("", 1)
    for piece, line in _tokens(text):
        if keys_once and piece in ("{", "["):
            keys.append(set())
        elif keys_once and piece in ("}", "]"):
            keys.pop()
        elif keys_once and piece == ":":
            if (key := json.loads(previous[0])) in keys[-1]:
                return previous[1]
            keys[-1].add(key)
        elif _is_refused(piece, constants):
            return line
        previous = (piece, line)
    return None


def _is_refused(piece: str, constants: bool) -> bool:
    if piece.startswith(("NaN", "Infinity", "-Infinity")):
        return not constants
    number = _NUMBER.match(piece)
    if not number:
        return False
    return math.isinf(float(number.group())) if number.group(1) else len(number.group()) > MAX_DIGITS


def _tokens(text: str) -> Iterator[tuple[str, int]]:
    """Yield (piece, line) up to the end of what is JSON."""
    line, done = 1, 0
    for match in _TOKEN.finditer(text):
        line += text.count("\n", done, match.start())
        done = match.start()
        yield match.group(), line


def _depth(value: object) -> int:
    """Return how deep lists and objects lie in each other."""
    depth, level = 0, [value]
    while level := [item for item in level if isinstance(item, dict | list)]:
        depth += 1
        level = [child for item in level for child in (item.values() if isinstance(item, dict) else item)]
    return depth


def _is_whole(value: object) -> bool:
    """Tell whether every text in a value is valid Unicode."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            try:
                item.encode()
            except UnicodeEncodeError:
                return False
        elif isinstance(item, dict):
            waiting += [*item.keys(), *item.values()]
        elif isinstance(item, list):
            waiting += item
    return True


def _size(count: int) -> str:
    return f"{count // 2**20} MiB" if count >= 2**20 else f"{count // 2**10} KiB"
