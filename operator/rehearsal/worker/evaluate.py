"""Measure a model: lm-evaluation-harness as the client of the pod's engine, a result a question.

Greedy, through the model's own chat template, prompts sent as token ids. Offline: what is asked lies in the store.
"""

import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rehearsal.api.messages import DeviceUnusable, Refused
from rehearsal.api.run import EvaluationTask
from rehearsal.worker.context import Context, Outcome, log
from rehearsal.worker.engine_stage import engine_of, wait_for_engine
from rehearsal.worker.tasks import TaskFile, bring_task

OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1", "TQDM_DISABLE": "1"}
Row = dict[str, object]


def run(context: Context) -> Outcome:
    """Seal a shard a task of rows `{"id", "task", "role", "correct", "metric"}`, sorted by id; facts hold `<task>.score`."""
    if sealed := context.output.manifest():
        return Outcome(sealed)
