"""Measure a model: lm-evaluation-harness as the client of the pod's engine, a result a question.

Greedy, through the model's own chat template, prompts sent as token ids. Offline: what is asked lies in the store.
"""

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from rehearsal.api.messages import Refused
from rehearsal.api.run import EvaluationTask
from rehearsal.inference.client import connect
from rehearsal.pipeline.fingerprint import served_model_name
from rehearsal.worker.context import Context, Outcome, log
from rehearsal.worker.engine_stage import engine_url, max_model_len
from rehearsal.worker.tasks import bring_task

Row = dict[str, object]


def run(context: Context) -> Outcome:
    """Seal a shard a task of rows `{"id", "task", "role", "correct", "metric"}`, sorted by id; facts hold `<task>.score`.

    `correct` is the task's first metric: true or false, or a number where the metric gives partial credit.
    """
    if sealed := context.output.manifest():
        return Outcome(sealed)
    tasks = context.spec.evaluation.tasks
    done = context.output.commits(len(tasks))
    if len(done) < len(tasks):
        _offline(context)
        from rehearsal.worker.harness import Harness  # noqa: PLC0415 - takes seconds, and reads the environment

        url = engine_url()
        name = served_model_name(context.stage, context.task.inputs, context.fingerprints)
        log(f"waiting for the engine at {url}")
        asyncio.run(_wait(url, name, max_model_len(context)))
        harness = Harness(url, name, context.model_dir, max_model_len(context), context.task.limits.concurrency)
        for index, task in enumerate(tasks):
            context.progress(index, len(tasks), "tasks")
            if index not in done:
                file = bring_task(context.objects, *context.external(f"task.{task.name}"), context.scratch / "tasks" / task.name)
                context.output.commit_shard(
                    index, results(task, file.metric, harness.ask(task.name, file, context.spec.evaluation.limit))
                )
    context.progress(len(tasks), len(tasks), "tasks")
    return Outcome(context.output.seal(len(tasks), facts=_facts(context)))


def results(task: EvaluationTask, metric: str, samples: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Return a row a question from the harness's samples; of several filters over one answer the first counts."""
    rows: dict[str, Row] = {}
    for sample in samples:
        name = f"{task.name}/{sample['doc_id']:07d}"
        if metric not in sample:
            raise Refused(
                f"spec.evaluation.tasks ({task.name}): the harness gives no {metric} a question; put another metric first",
                "TaskUnusable",
            )
        if name not in rows:
            rows[name] = {"id": name, "task": task.name, "role": task.role, "correct": _value(sample[metric]), "metric": metric}
    return [rows[name] for name in sorted(rows)]


def _value(measured: bool | float | Sequence[float]) -> bool | float:
    """A metric of several instructions in one question, as IFEval's, is their mean."""
    value = fmean(measured) if isinstance(measured, Sequence) else float(measured)
    return bool(value) if value in (0, 1) else value


def _facts(context: Context) -> dict[str, str | int | float]:
    facts: dict[str, str | int | float] = {}
    for index, task in enumerate(context.spec.evaluation.tasks):
        answers = [float(row["correct"]) for row in context.output.shard_rows(index)]
        facts |= {f"{task.name}.score": round(fmean(answers), 6) if answers else 0.0, f"{task.name}.questions": len(answers)}
    return facts


async def _wait(url: str, model: str, longest: int) -> None:
    """Return once the engine is up and is the one that was asked for."""
    async with connect(url, model, longest):
        pass


def _offline(context: Context) -> None:
    """What the harness's libraries read when they are imported: no hub, no telemetry, caches on scratch."""
    os.environ |= {
        "HF_HOME": str(context.scratch / "hf"),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
