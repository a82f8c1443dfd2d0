"""The stages that read whole sets hold none of them: memory hardly grows with the rows, whatever these say."""

from pathlib import Path

import pytest

from tests.bench.prepared import STAGES, Preparation, Shape
from tests.bench.prose import Prose
from tests.bench.stage_process import run_stage
from tests.unit.worker.models_in_store import talking_model

SMALL = {"mix": 800, "filter": 1100, "select": 1100}
"""Rows from which on everything is there that does not depend on their number: two shards at least of what is read."""
TIMES = 2.5
STEADY = {"MALLOC_MMAP_THRESHOLD_": "32768", "MALLOC_ARENA_MAX": "1"}
"""What is freed is given back at once, so that two runs can be compared: glibc's own thresholds move while a program runs."""
BOUND = {"mix": 1500, "filter": 800, "select": 800}
"""Bytes a row. Enough for places in orders and digests of what was seen; tokens and texts of a row are more, however they are packed."""


@pytest.mark.parametrize("stage", STAGES)
def test_memory_does_not_grow_with_the_rows(tmp_path: Path, stage: str) -> None:
    preparation = Preparation(Prose(words=200), talking_model(tmp_path / "files"), Shape(instruction=20, answer=120))
    sizes, peaks = (SMALL[stage], int(TIMES * SMALL[stage])), []
    for rows in sizes:
        folder = tmp_path / str(rows)
        folder.mkdir()
        peaks.append(run_stage(stage, preparation.prepare(stage, rows, folder), STEADY).peak)
    growth = (peaks[1] - peaks[0]) / (sizes[1] - sizes[0])
    assert growth < BOUND[stage], f"{stage} holds {growth:,.0f} bytes of every row"
