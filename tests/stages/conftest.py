"""The run that the train program's tests compare others with: thirty undisturbed steps of one node."""

from pathlib import Path

import pytest

from rehearsal.api.messages import ExitCode
from tests.stages.tiny import TrainRun, make_model, pattern_rows, train_run

ROWS = pattern_rows(240)
EXACT = 1e-5
"""Relative difference of losses between runs that make the same sums in the same order."""


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, model: Path) -> TrainRun:
    """Thirty steps under ZeRO-2, packed, from start to seal."""
    made = train_run(tmp_path_factory.mktemp("undisturbed"), model, ROWS)
    code, progress = made.run()
    assert code == ExitCode.DONE, (made.folder / "log").read_text()[-3000:]
    assert progress[-1] == progress[-1] | {"done": 30, "total": 30, "unit": "steps"}
    return made


@pytest.fixture(scope="session")
def losses(undisturbed: TrainRun) -> dict[int, float]:
    """Its losses, read before the program is started on the same scratch again."""
    return undisturbed.steps
