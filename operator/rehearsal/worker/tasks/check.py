"""A look at a whole task, long before an engine starts: every row is read, put into words, and given a right answer."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import cast

from rehearsal.outside.bounded import Bounded, OutOfBounds, Raised
from rehearsal.store.objects import Objects
from rehearsal.worker.tasks.files import TaskFile, fetch_task
from rehearsal.worker.tasks.questions import Problem
from rehearsal.worker.tasks.rows import Fields, Row

ROWS_AT_ONCE = 20
SECONDS_A_CALL = 5
"""Processor time for so many rows; they take some milliseconds."""
SECONDS = 600
"""All rows of a task together; a suite of 12,000 questions takes a few."""

Clock = Callable[[], float]


def check_task(
    objects: Objects, uri: str, field: str, name: str, into: Path, seconds: int = SECONDS_A_CALL, clock: Clock = time.monotonic
) -> str:
    """Return the digest to pin a task to, or refuse it by field, file, line and row. `name` is what the run calls it."""
    task = fetch_task(objects, uri, f"{field} ({name}): {uri}", into)
    _Look(task, seconds, clock).through()
    return task.digest


class _Look:
    def __init__(self, task: TaskFile, seconds: int, clock: Clock) -> None:
        self._task, self._config, self._seconds, self._clock = task, task.config, seconds, clock
        self._end = clock() + SECONDS

    def through(self) -> None:
        """Refuse the first thing that is wrong."""
        config = self._config
        fields = next(self._task.rows(config.asked)).fields
        setup = {"config": config.model_dump(mode="json", exclude_unset=True), "fields": sorted(fields)}
        with Bounded("rehearsal.worker.tasks.questions", setup, seconds=self._seconds) as child:
            self._compile(child, fields)
            asked = self._all(child, self._task.rows(config.asked), is_shot=False)
            if config.num_fewshot:
                shots = self._all(child, self._shots(), is_shot=True)
                self._enough(asked if config.shots_from == config.asked else None, shots)

    def _compile(self, child: Bounded, fields: Fields) -> None:
        for key, template in self._config.templates:
            if template in fields:
                continue
            if "{" not in template and key.rpartition(".")[2] in ("doc_to_text", "doc_to_target"):
                raise self._task.refusal(key, f"`{key}` is no field of the rows, and no template; write {{{{…}}}} around a field")
            self._call(child, {"template": template}, key)
        for key, pattern in self._config.patterns:
            self._call(child, {"pattern": pattern}, key)

    def _shots(self) -> Iterator[Row]:
        if self._config.shots_from:
            return self._task.rows(self._config.shots_from)
        return (Row(f"fewshot_config.samples[{index}]", row) for index, row in enumerate(self._config.samples))

    def _all(self, child: Bounded, rows: Iterable[Row], is_shot: bool) -> Counter[int]:
        """Look at all rows; return how often each occurs."""
        remaining, counts = iter(rows), Counter[int]()
        while batch := list(islice(remaining, ROWS_AT_ONCE)):
            self._ask(child, batch, is_shot)
            counts.update(hash(json.dumps(row.fields, sort_keys=True)) for row in batch)
            if self._clock() > self._end:
                raise self._task.refusal("", f"putting its rows into words takes more than {SECONDS // 60} minutes")
        return counts

    def _ask(self, child: Bounded, rows: list[Row], is_shot: bool) -> None:
        """Refuse the first row that cannot be asked; where a bound ends the call, look at one row after the other."""
        call = {"shots": is_shot, "rows": [row.fields for row in rows]}
        if len(rows) == 1:
            self._call(child, call, "", rows)
            return
        try:
            self._tell(child.call(call), "", rows)
        except (OutOfBounds, Raised):
            for row in rows:
                self._ask(child, [row], is_shot)

    def _call(self, child: Bounded, call: Mapping[str, object], key: str, rows: Sequence[Row] = ()) -> None:
        try:
            found = child.call(call)
        except (OutOfBounds, Raised) as error:
            how = str(error) if isinstance(error, OutOfBounds) else f"ended in {error.kind}"
            what = f"`{key}`" if key else "putting the row into words"
            raise self._task.refusal(key, f"{what} {how}; make it simpler", rows[0].place if rows else "") from None
        self._tell(found, key, rows)

    def _tell(self, found: object, key: str, rows: Sequence[Row]) -> None:
        """Refuse the task where a problem was found."""
        if found:
            problem = cast(Problem, found)
            place = rows[int(problem["row"])].place if "row" in problem else ""
            key = problem.get("key", key)
            raise self._task.refusal(key, f"`{key}` {problem['problem']}", place)

    def _enough(self, asked: Counter[int] | None, shots: Counter[int]) -> None:
        """Refuse fewer examples than are shown; where questions are drawn too, a question is no example of itself."""
        most, own = self._config.num_fewshot, max(asked.values()) if asked else 0
        if (there := shots.total() - own) < most:
            raise self._task.refusal("num_fewshot", f"`num_fewshot` is {most}, and there are {there} examples for a question")
