"""The only home of lm-evaluation-harness. Imported when the stage needs it: the import takes seconds.

It gets its rows from us, so neither `datasets` nor a hub is asked for any. It renders templates in our sandbox. `evaluate`,
which imports a metric that it does not know by its path, is closed.
"""

import asyncio
import signal
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from itertools import repeat
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TypeVar

import evaluate
import lm_eval
import lm_eval.utils
from lm_eval.models.openai_completions import LocalCompletionsAPI
from lm_eval.tasks import TaskManager

from rehearsal.api.messages import OF_THE_DISK, Refused, StageError
from rehearsal.inference.body import UnreadableAnswerError
from rehearsal.inference.client import Patience, RequestRefusedError, connect
from rehearsal.worker.tasks.files import TaskFile
from rehearsal.worker.tasks.rows import Fields
from rehearsal.worker.tasks.templates import environment

SECONDS = 300
"""Processor time to put a task's questions into words, and again to find and score its answers."""
BOUNDED = ("build_all_requests", "apply_filters", "process_results")
"""What of a task computes its templates and regular expressions, on rows and on what a model wrote."""

Result = TypeVar("Result")


class Rows(list[Fields]):
    """Rows as the harness wants a data set: a list that knows its fields, which are those of the first row."""

    @property
    def features(self) -> Fields:
        """The fields by name."""
        return self[0]


class Harness:
    """Asks the engine at `url` the questions of tasks. `longest`: the tokens that it takes, question and answer together."""

    def __init__(
        self,
        url: str,
        model: str,
        tokenizer: Path,
        longest: int,
        concurrency: int,
        patience: Patience | None = None,
        seconds: int = SECONDS,
    ) -> None:
        evaluate.load = _closed
        lm_eval.utils.env = environment()
        self._model = _Model(url, model, tokenizer, longest, concurrency, patience or Patience())
        self._manager = TaskManager(include_defaults=False)
        self._seconds = seconds

    def ask(self, name: str, task: TaskFile, limit: int | None) -> Sequence[Mapping[str, Any]]:
        """Return the harness's samples, one or more a question.

        DeviceUnusable when the engine stops answering; Refused for all else that keeps the task from being asked or scored.
        """
        try:
            loaded = self._bounded(task, self._manager.load)([_config(name, task)])["tasks"][name]
            for step in BOUNDED:
                setattr(loaded, step, self._bounded(task, getattr(loaded, step)))
            found = lm_eval.simple_evaluate(
                model=self._model,
                tasks=[loaded],
                limit=limit,
                apply_chat_template=True,
                bootstrap_iters=0,
                task_manager=self._manager,
            )
            samples: Sequence[Mapping[str, Any]] = found["samples"][name]
        except RequestRefusedError as error:
            # Prompts go out as token ids, so the engine can quote no text of them.
            raise Refused(f"{task.where}: the engine refuses a question: {error.sentence}", "TaskUnusable") from error
        except StageError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in OF_THE_DISK:
                raise
            traceback.print_exception(error)
            text = f"{task.where}: lm-evaluation-harness cannot run it ({type(error).__name__}); the log has its words"
            raise Refused(text, "TaskUnusable") from error
        return samples

    def _bounded(self, task: TaskFile, step: Callable[..., Result]) -> Callable[..., Result]:
        def run(*arguments: object, **named: object) -> Result:
            with _at_most(self._seconds, task):
                return step(*arguments, **named)

        return run


class _Model(LocalCompletionsAPI):  # type: ignore[misc]  # the harness has no types
    """The engine beside this client. Its requests go through our own client, which knows a dead engine from a wrong request."""

    def __init__(self, url: str, model: str, tokenizer: Path, longest: int, concurrency: int, patience: Patience) -> None:
        super().__init__(
            model=model,
            base_url=url,
            tokenizer=str(tokenizer),
            tokenizer_backend="huggingface",
            tokenized_requests=True,
            num_concurrent=max(2, concurrency),  # one at a time would take a way of its own, around `get_batched_requests`
            max_length=longest + 2,  # a prompt that it cuts is then still longer than what the engine takes, and is seen below
        )
        self._url, self._longest, self._at_once, self._patience = url, longest, concurrency, patience

    async def get_batched_requests(
        self,
        requests: Sequence[list[int]],
        cache_keys: Sequence[object],
        *,
        generate: bool = True,
        ctxlens: Sequence[int] | None = None,
        gen_kwargs: dict[str, Any] | None = None,
    ) -> list[list[Any]]:
        """Return the engine's answer to every prompt: what it wrote, or (log-likelihood, greedy)."""
        bodies = [
            self._create_payload([ids], generate=generate, gen_kwargs=deepcopy(gen_kwargs), seed=self._seed) for ids in requests
        ]
        self._refuse_cuts([(len(body["prompt"][0]), body["max_tokens"]) for body in bodies])
        slots = asyncio.Semaphore(self._at_once)
        async with connect(self._url, self.model, self._longest, self._patience) as engine:

            async def answered(body: dict[str, Any], context: int | None) -> list[Any]:
                def parse(answer: Any) -> Any:  # noqa: ANN401  JSON in; the harness has no types
                    try:
                        return self.parse_generations(answer) if generate else self.parse_logprobs(answer, ctxlens=[context])
                    except (KeyError, TypeError, IndexError) as error:
                        raise UnreadableAnswerError(f"{type(error).__name__} in an answer of the engine") from error

                async with slots:
                    return await engine.answer(body, parse, body["max_tokens"])

            return await asyncio.gather(*map(answered, bodies, ctxlens or repeat(None)))

    def _refuse_cuts(self, lengths: Sequence[tuple[int, int]]) -> None:
        """Refuse rather than ask less than the question: the harness cuts from the left and counts the answer as wrong."""
        if too_long := [length for length in lengths if sum(length) > self._longest]:
            prompt, answer = max(too_long)
            raise Refused(
                f"{len(too_long)} of {len(lengths)} prompts need {prompt} tokens or more and {answer} for the answer, and the model "
                f"takes {self._longest} in all; raise serving.maxModelLen, or lower generation_kwargs.max_gen_toks or num_fewshot",
                "TaskUnusable",
            )


def _config(name: str, task: TaskFile) -> dict[str, Any]:
    """Return the task as the harness takes it: what decides, and no name that it would look up."""
    ours = {"dataset_path", "dataset_kwargs", "metadata", "tag", "task_alias"}
    ours |= {"training_split", "validation_split", "test_split", "fewshot_split"}
    if not task.config.num_fewshot:
        ours |= {"fewshot_config"}
    config = task.config.model_dump(exclude=ours, exclude_unset=True, exclude_none=True)
    splits = {task.config.asked, task.config.shots_from} - {None}
    rows = {split: Rows(row.fields for row in task.rows(split)) for split in splits if split}

    def custom_dataset(**_: object) -> dict[str, Rows]:
        return rows

    config |= {"task": name, "custom_dataset": custom_dataset, "test_split": task.config.asked}
    return config | ({"fewshot_split": task.config.shots_from} if task.config.shots_from else {})


@contextmanager
def _at_most(seconds: int, task: TaskFile) -> Iterator[None]:
    """Refuse the task when the block takes more processor time. For the main thread, like every signal."""

    def over(_signal: int, _frame: FrameType | None) -> NoReturn:
        what = "putting its questions into words, or scoring its answers"
        raise task.refusal("", f"{what}, takes more than {seconds} s; make its templates and regular expressions simpler")

    previous = signal.signal(signal.SIGVTALRM, over)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, previous)


def _closed(path: str, *_: object, **__: object) -> NoReturn:
    raise Refused(f"evaluate would import the metric {path!r}; no such metric is in the list of task files", "TaskUnusable")
