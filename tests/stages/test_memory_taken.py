"""The arithmetic of a run's moments, against what the kernel says that processes take."""

from pathlib import Path

import pytest

from rehearsal.api.run import Training
from rehearsal.worker.training.memory import MARGIN
from rehearsal.worker.training.moments import PROCESS_ON_CPU, moments
from rehearsal.worker.training.shape import ModelShape
from tests.stages.tiny import told_by

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1800)]


def test_what_the_arithmetic_counts_is_what_a_process_takes(tmp_path: Path) -> None:
    """Every tensor is given back when it is freed, so that what is measured is what was held."""
    told = told_by("tests.stages.measured", tmp_path, MALLOC_MMAP_THRESHOLD_="65536", MALLOC_TRIM_THRESHOLD_="65536")
    model = ModelShape(parameters=told["parameters"], hidden=0, layers=0, vocabulary=0)
    for stage in (2, 3):
        counted = moments(model, Training(zero_stage=stage, processes_per_node=1), offload=False, on_cpu=True)
        wanted = {moment.name: moment.device + moment.host - PROCESS_ON_CPU for moment in counted}
        taken = told[str(stage)]
        assert taken.pop("process") < PROCESS_ON_CPU
        assert taken["as it saves"] < wanted["as it saves"] * MARGIN
        for name in ("in an optimizer step", "as it resumes"):
            assert 0.85 * wanted[name] < taken[name] < MARGIN * wanted[name], (stage, name)
