"""The benchmark stays runnable: three runs, seconds instead of minutes. Its figures are not judged here."""

from pathlib import Path

import pytest

from tests.bench.control import Plan, measure
from tests.bench.table import table
from tests.control.given import Plane

pytestmark = pytest.mark.control


async def test_the_benchmark_measures_what_its_table_shows(plane: Plane, tmp_path: Path) -> None:
    plan = Plan(rate=5, completions=5, rest_seconds=2, settle_seconds=1)
    result = await measure(plane, 3, plan, tmp_path)
    assert result.steady.transitions
    assert 0 <= result.steady.transitions.p50 <= result.steady.transitions.p99 <= result.steady.transitions.longest
    assert result.steady.figures.calls["create", "Job"] > 0
    assert 20 < result.memory.now <= result.last_memory.most
    assert result.jobs > 3
    lines = table([result, result]).splitlines()
    assert {line.count("|") for line in lines} == {4}
    assert "| live runs | 3 | 3 |" in lines
