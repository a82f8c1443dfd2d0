"""A mix that its pod cannot hold is refused with the arithmetic; the papers' own, and ten times it, fit the defaults."""

import pytest

from rehearsal.api.messages import Refused
from rehearsal.api.task import Task
from rehearsal.worker.mix_size import MixSize

SCRATCH, MEMORY = (Task.model_fields[name].default for name in ("scratch", "cpu_memory"))


@pytest.mark.parametrize("rows", [120_482, 1_204_820, 8_000_000])
def test_a_mix_of_600_tokens_a_row_fits_the_default_pod(rows: int) -> None:
    MixSize(files=3000 * rows, rows=rows, mixed=rows, tokens=600 * rows, longest=4096).check(SCRATCH, MEMORY)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (MixSize(files=60_000_000_000), r"60.0 GB of files and up to 0 tokens take 60.0 GB, and the platform's scratch is 50Gi"),
        (MixSize(files=0, rows=10**6, tokens=2 * 10**10, longest=4096), "take 80.1 GB, and the platform's scratch is 50Gi"),
        (MixSize(files=0, rows=10**8, mixed=10**7, tokens=10**9), "cpuStage.memory is 2Gi; have the platform give more"),
    ],
)
def test_a_mix_that_does_not_fit_is_refused_by_the_knob_that_is_too_small(size: MixSize, words: str) -> None:
    with pytest.raises(Refused, match=words) as refused:
        size.check(SCRATCH, MEMORY)
    assert refused.value.reason == "DoesNotFit"
