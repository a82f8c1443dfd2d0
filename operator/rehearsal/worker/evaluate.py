"""Measure a model: lm-evaluation-harness as the client of the pod's engine, a result a question.

Greedy, through the model's own chat template, prompts sent as token ids. Offline: what is asked lies in the store.
"""

from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import Any

from rehearsal.api.messages import Refused
from rehearsal.api.run import EvaluationTask
from rehearsal.pipeline.fingerprint import served_model_name
from rehearsal.worker.context import Context, Outcome
from rehearsal.worker.engine_stage import engine_url, max_model_len
from rehearsal.worker.tasks.files import bring_task

Row = dict[str, object]


def run(context: Context) -> Outcome:
    """Seal a shard a task of rows `{"id", "task", "role", "correct", "metric"}`, sorted by id; facts hold `<task>.score`.

    `correct` is the task's first metric: true or false.
    """
    if sealed := context.output.manifest():
        return Outcome(sealed)
    tasks = context.spec.evaluation.tasks
    done = context.output.commits(len(tasks))
    if len(done) < len(tasks):
        from rehearsal.worker.harness import Harness  # noqa: PLC0415 - takes seconds

        name = served_model_name(context.stage, context.task.inputs, context.fingerprints)
        longest, at_once = max_model_len(context), context.task.limits.concurrency
        harness = Harness(engine_url(), name, context.model_dir, longest, at_once)
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
        if sample.get(metric) not in (0, 1):
            raise Refused(f"{task.uri}: {metric} of question {sample['doc_id']} is neither right nor wrong", "TaskUnusable")
        if name not in rows:
            rows[name] = {"id": name, "task": task.name, "role": task.role, "correct": bool(sample[metric]), "metric": metric}
    return [rows[name] for name in sorted(rows)]


def _facts(context: Context) -> dict[str, str | int | float]:
    facts: dict[str, str | int | float] = {}
    for index, task in enumerate(context.spec.evaluation.tasks):
        answers = [float(row["correct"]) for row in context.output.shard_rows(index)]
        facts |= {f"{task.name}.score": round(fmean(answers), 6) if answers else 0.0, f"{task.name}.questions": len(answers)}
    return facts
