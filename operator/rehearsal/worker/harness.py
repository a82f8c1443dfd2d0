"""The only home of lm-evaluation-harness. Imported when the stage needs it: the import takes seconds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import lm_eval
import lm_eval.utils
from jinja2 import BaseLoader, StrictUndefined
from jinja2.sandbox import SandboxedEnvironment
from lm_eval.models.openai_completions import LocalCompletionsAPI
from lm_eval.tasks import TaskManager
from tenacity import RetryError

from rehearsal.api.messages import DeviceUnusable, Refused
from rehearsal.worker.context import log
from rehearsal.worker.tasks import TaskFile

RETRIES = 8
"""A server closes idle connections; a request that meets this is repeated."""
ANSWER_SECONDS = 1800


class Harness:
    """Asks the engine at `url` the questions of tasks. Answers are at most what is left of `longest` tokens."""

    def __init__(self, url: str, model: str, tokenizer: Path, longest: int, concurrency: int) -> None:
        _render_in_a_sandbox()
        self._model = LocalCompletionsAPI(
            model=model,
            base_url=f"{url}/v1/completions",
            tokenizer=str(tokenizer),
            tokenizer_backend="huggingface",
            tokenized_requests=True,
            num_concurrent=concurrency,
            max_length=longest,
            max_retries=RETRIES,
            timeout=ANSWER_SECONDS,
        )
        self._manager = TaskManager(include_defaults=False)

    def ask(self, name: str, task: TaskFile, limit: int | None) -> Sequence[Mapping[str, Any]]:
        """Return the harness's samples, one or more a question; DeviceUnusable when the engine stops answering."""
        try:
            found = lm_eval.simple_evaluate(
                model=self._model,
                tasks=[{**task.config, "task": name}],
                limit=limit,
                apply_chat_template=True,
                bootstrap_iters=0,
                task_manager=self._manager,
            )
        except (aiohttp.ClientError, RetryError, TimeoutError) as error:
            raise DeviceUnusable(f"the engine stopped answering in task {name}: {type(error).__name__}", "EngineGone") from error
        except (ValueError, KeyError, TypeError) as error:
            log(f"lm-evaluation-harness: {type(error).__name__}: {error}")
            raise Refused(
                f"{task.uri}: lm-evaluation-harness cannot run it ({type(error).__name__}); the log has its words", "TaskUnusable"
            ) from error
        samples: Sequence[Mapping[str, Any]] = found["samples"][name]
        return samples


def _render_in_a_sandbox() -> None:
    """The harness renders a task's templates with access to everything in Python; ours without."""
    sandboxed = SandboxedEnvironment(loader=BaseLoader(), undefined=StrictUndefined, keep_trailing_newline=True)
    sandboxed.filters["regex_replace"] = lm_eval.utils.regex_replace
    lm_eval.utils.env = sandboxed
