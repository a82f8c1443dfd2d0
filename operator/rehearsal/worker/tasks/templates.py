"""What lm-evaluation-harness 0.4.13 makes of a row: the question, the choices, the answer that is right. No library of its own.

Rendered with the harness's settings in jinja2's sandbox; the harness renders with `environment()` too. A test holds these
rules to the harness. Not covered: time and memory, which a template can use up; run it in a bounded process.
"""

import ast
import re
from collections.abc import Set
from contextlib import suppress

from jinja2 import BaseLoader, StrictUndefined, Template
from jinja2.sandbox import ImmutableSandboxedEnvironment

from rehearsal.worker.tasks.rows import Fields
from rehearsal.worker.tasks.schema import TaskConfig


class _Environment(ImmutableSandboxedEnvironment):
    """Compiles a template once: the harness asks for it again at every row."""

    def __init__(self) -> None:
        super().__init__(loader=BaseLoader(), undefined=StrictUndefined, keep_trailing_newline=True)
        self.filters["regex_replace"] = _regex_replace
        del self.filters["random"], self.globals["lipsum"]  # a question is the same whenever it is asked
        self._compiled: dict[str, Template] = {}

    def from_string(self, source: str) -> Template:  # type: ignore[override]  # the harness gives no more
        """Return the compiled template of a text."""
        if source not in self._compiled:
            self._compiled[source] = super().from_string(source)
        return self._compiled[source]


def environment() -> ImmutableSandboxedEnvironment:
    """Return the harness's own environment, but in a sandbox in which a template reaches and changes nothing."""
    return _Environment()


def _regex_replace(string: str, pattern: str, repl: str, count: int = 0) -> str:
    return re.sub(pattern, repl, string, count=count)


class Rules:
    """The harness's rules for one task. `fields`: the names of the first row's fields, which a key may be instead of a template."""

    def __init__(self, config: TaskConfig, fields: Set[str]) -> None:
        self._config, self._fields = config, fields
        self._environment = environment()

    def description(self, row: Fields) -> object:
        """Return what stands above every question."""
        asked = self._config.description or ""
        return row[asked] if asked in row else self._rendered(asked, row)

    def prefix(self, row: Fields, key: str | None, is_shot: bool) -> object:
        """Return what the answer begins with; a solved example's own fields count, not those of the first row."""
        if key is None:
            return ""
        return row[key] if key in (row if is_shot else self._fields) else self._rendered(key, row)

    def text(self, row: Fields, key: str) -> object:
        """Return the question; or a number, the place of the right choice, where the choices are what differs in the question."""
        return row[key] if key in self._fields else self._number(self._rendered(key, row))

    def target(self, row: Fields, key: str | int) -> object:
        """Return the right answer: a text, the place of a choice, or a list of either."""
        if isinstance(key, int):
            return key
        if key in self._fields:
            return row[key]
        target = self._number(self._rendered(key, row))
        if isinstance(target, str) and target[:1] == "[" and target[-1:] == "]":
            with suppress(SyntaxError, ValueError):
                return ast.literal_eval(target)
        return target

    def choices(self, row: Fields, key: str | list[str] | dict[str, str]) -> object:
        """Return the choices: the file's own, a field's, or what is rendered as a Python list."""
        if isinstance(key, list):
            return key
        if isinstance(key, dict):
            return list(key.values())
        return row[key] if key in self._fields else ast.literal_eval(self._rendered(key, row))

    def _number(self, text: str) -> object:
        """Digits are the place of a choice, where there are choices."""
        return ast.literal_eval(text) if text.isdigit() and self._config.doc_to_choice is not None else text

    def _rendered(self, template: str, row: Fields) -> str:
        return self._environment.from_string(template).render(**row)
