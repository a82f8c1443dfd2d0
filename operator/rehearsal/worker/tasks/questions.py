"""Whether every row of a task can be asked and scored, found by making of it what the harness will.

A program of `outside.bounded`: templates and regular expressions are computed here, so it runs in a process with limits.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from jinja2 import TemplateError, TemplateNotFound, TemplateSyntaxError

from rehearsal.worker.tasks.rows import Fields
from rehearsal.worker.tasks.schema import FewShot, TaskConfig
from rehearsal.worker.tasks.templates import Rules, environment

MAX_CHARACTERS = 4 * 2**20
"""Of one rendered text: more than any model reads."""
_QUOTED = re.compile(r"'(?!end of [a-z ]+'|\W{1,3}')[^']*'|\"[^\"]*\"")
_UNKNOWN = re.compile(r"'\w{1,40}' is undefined")
Made = TypeVar("Made")
Problem = dict[str, str]
"""`key`: of the task file; `problem`: what is wrong with its value; `row`: the index in the call, where it is a row's."""


class _Wrong(ValueError):
    """A key whose value does not do for a row."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(problem)
        self.key, self.problem = key, problem


def prepare(setup: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], Problem | None]:
    """Return a function that tells what is wrong, or None.

    It is called with `{"template": text}`, `{"pattern": text}`, or `{"rows": [fields, …], "shots": bool}`.
    """
    checker = _Checker(TaskConfig.model_validate(setup["config"]), frozenset(setup["fields"]))

    def check(call: Mapping[str, Any]) -> Problem | None:
        if "rows" not in call:
            return _uncompiled(**call)
        for index, row in enumerate(call["rows"]):
            try:
                checker.check(row, call["shots"])
            except _Wrong as error:
                return {"key": error.key, "problem": error.problem, "row": str(index)}
        return None

    return check


def _uncompiled(template: str = "", pattern: str = "") -> Problem | None:
    try:
        environment().from_string(template)
        _try(re.compile(pattern))
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  what jinja2's parser, Python's compiler and re raise
        return {"problem": f"is no {'regular expression' if pattern else 'jinja2 template'}: {_words(error)}"}
    return None


@dataclass
class _Checker:
    config: TaskConfig
    fields: frozenset[str]
    kinds: dict[str, str] = field(default_factory=dict)
    """What the values of a key are in the first row: the harness takes all others for the same."""

    def __post_init__(self) -> None:
        self.rules = Rules(self.config, self.fields)

    def check(self, row: Fields, is_shot: bool) -> None:
        """Raise _Wrong where the row cannot be asked and scored, or cannot be a solved example."""
        keys = _Keys.of(self.config, is_shot)
        _is_text(keys.named("gen_prefix"), _made(keys.named("gen_prefix"), lambda: self.rules.prefix(row, keys.prefix, is_shot)))
        if not is_shot:
            _is_text("description", _made("description", lambda: self.rules.description(row)))
        choices = self._choices(row, keys)
        question = _made(keys.named("doc_to_text"), lambda: self.rules.text(row, keys.text))
        target = _made(keys.named("doc_to_target"), lambda: self.rules.target(row, keys.target))
        self._same_kind(keys.named("doc_to_text"), question)
        self._same_kind(keys.named("doc_to_target"), target)
        if isinstance(question, int) and self.config.output_type == "multiple_choice":
            _place(keys.named("doc_to_text"), question, choices)
            _some_text(keys.named("doc_to_target"), target)
            return
        _some_text(keys.named("doc_to_text"), question)
        if is_shot:
            _answer(keys.named("doc_to_target"), target, choices)
        else:
            self._right(target, choices)

    def _choices(self, row: Fields, keys: "_Keys") -> Sequence[str]:
        if keys.choices is None:
            return ()
        key, asked = keys.named("doc_to_choice"), keys.choices
        choices = _made(key, lambda: self.rules.choices(row, asked))
        if not isinstance(choices, list) or len(choices) < 2:
            raise _Wrong(key, "must give a list of two choices or more")
        for choice in choices:
            _some_text(key, choice, "gives a choice that")
        return choices

    def _right(self, target: object, choices: Sequence[str]) -> None:
        """Raise where no answer could be right."""
        key, kind = "doc_to_target", self.config.output_type
        if kind == "multiple_choice" and isinstance(target, str):
            if target not in choices:
                raise _Wrong(key, "gives a text that is none of the choices")
        elif kind == "multiple_choice":
            for one in target if isinstance(target, list) and target else [target]:
                _place(key, one, choices)
        elif kind == "generate_until" and self.config.doc_to_choice is not None:
            _place(key, target, choices)
        elif kind == "generate_until":
            for one in target if isinstance(target, list) and target else [target]:
                _is_text(key, one)
        else:
            _some_text(key, target)

    def _same_kind(self, key: str, value: object) -> None:
        kind = _kind(value)
        if (first := self.kinds.setdefault(key, kind)) != kind:
            raise _Wrong(key, f"gives {kind}, but {first} in the first row; the harness takes all rows for the same")


@dataclass(frozen=True)
class _Keys:
    """The keys that a row is put into words by: those of the question, or those of a solved example."""

    text: str
    target: str | int
    choices: str | list[str] | dict[str, str] | None
    prefix: str | None
    overridden: frozenset[str] = frozenset()

    @classmethod
    def of(cls, config: TaskConfig, is_shot: bool) -> "_Keys":
        shot = (config.fewshot_config if is_shot else None) or FewShot()
        return cls(
            shot.doc_to_text or config.doc_to_text,
            config.doc_to_target if shot.doc_to_target is None else shot.doc_to_target,
            shot.doc_to_choice or config.doc_to_choice,
            shot.gen_prefix or config.gen_prefix,
            frozenset(shot.model_fields_set),
        )

    def named(self, key: str) -> str:
        """Return how the task file calls the key."""
        return f"fewshot_config.{key}" if key in self.overridden else key


def _made(key: str, make: Callable[[], Made]) -> Made:
    try:
        return make()
    except MemoryError:
        raise
    except KeyError:
        raise _Wrong(key, "names a field that this row does not have, but the first row has") from None
    except Exception as error:  # noqa: BLE001  a template computes, like any program
        raise _Wrong(key, f"cannot be computed: {_words(error)}") from None


def _is_text(key: str, value: object, what: str = "gives a text that") -> None:
    if not isinstance(value, str):
        raise _Wrong(key, f"gives {_kind(value)} where a text is needed; write {{{{…}}}} around a field to make it one")
    if len(value) > MAX_CHARACTERS:
        raise _Wrong(key, f"{what} has {len(value):,} characters; at most {MAX_CHARACTERS:,} are asked")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _Wrong(key, f"{what} holds half of a surrogate pair: not valid Unicode") from None


def _some_text(key: str, value: object, what: str = "gives a text that") -> None:
    _is_text(key, value, what)
    if not value:
        raise _Wrong(key, f"{what} is empty")


def _place(key: str, value: object, choices: Sequence[str]) -> None:
    """Raise unless the value is the place of a choice."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise _Wrong(key, f"gives {_kind(value)}, which is none of the choices; give its place, from 0, or its words")
    if not 0 <= value < len(choices):
        raise _Wrong(key, f"gives place {value}, but the places of the {len(choices)} choices are 0 to {len(choices) - 1}")


def _answer(key: str, target: object, choices: Sequence[str]) -> None:
    """Raise unless the target of a solved example has words."""
    if isinstance(target, list) and target:
        target = target[0]
    elif choices and isinstance(target, int):
        _place(key, target, choices)
        return
    _some_text(key, target)


def _kind(value: object) -> str:
    names = {bool: "true or false", int: "a number", float: "a number with a point", str: "a text", type(None): "null"}
    return names.get(type(value), "a list" if isinstance(value, list) else "a value of another kind")


def _try(pattern: re.Pattern[str]) -> None:
    """Search texts that an expression with two ways to read the same letters takes for ever over."""
    letters = {char for char in pattern.pattern if char.isalnum()} | set("a0 .")
    for char in sorted(letters):
        pattern.findall(char * 48 + "\n!")


def _words(error: Exception) -> str:
    """Return an error's words without what they quote of a row or file, but for marks and for names that are not there."""
    where = f"line {error.lineno}: " if isinstance(error, TemplateSyntaxError) else ""
    name = "" if isinstance(error, re.error) else type(error).__name__
    told = isinstance(error, TemplateError | re.error) and not isinstance(error, TemplateNotFound)  # its words are a row's
    words = " ".join(str(error).split()) if told else ""
    if not _UNKNOWN.fullmatch(words):
        words = _QUOTED.sub("…", words)
    return f"{where}{name}{name and words and ': '}{words[:200]}"
