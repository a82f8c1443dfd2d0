"""A worker's last word fits what Kubernetes keeps, and can always be read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rehearsal.api.messages import TERMINATION_BYTES, Termination
from rehearsal.pipeline.sources import external_inputs
from rehearsal.pipeline.stages import stages_of
from rehearsal.worker.__main__ import encoded
from tests.unit.worlds import parsed

LONG = "n" * 32


@pytest.mark.parametrize("scheme", ["store://{}", "hf://owner/name@{:0>40}"])
def test_preflights_answer_fits_at_the_bounds_of_the_spec(scheme: str) -> None:
    models = [{"name": f"{i}{LONG[1:]}", "model": {"uri": scheme.format(i)}} for i in range(5)]
    members = [{"name": LONG, "base": True}, *models]
    tasks = [{"name": f"{i}{LONG[1:]}", "uri": f"store://{i}"} for i in range(8)]
    spec = parsed(
        baseModel={"uri": scheme.format(9)},
        rehearsal={"reconstructed": {"committee": {"members": members}}},
        evaluation={"tasks": tasks, "suite": "open-llm-leaderboard-v2"},
        categories={"uri": "store://categories.yaml"},
    )
    word = Termination(
        inputs=dict.fromkeys(external_inputs(spec), "f" * 64),
        sealed={stage.name: "f" * 64 for stage in stages_of(spec, 4)},
        facts={"domainRows": 10_000_000, "domainTooLong": 10_000_000, "mixRows": 100_000_000},
    )
    read = Termination.model_validate_json(encoded(word))
    assert (read.inputs, read.sealed) == (word.inputs, word.sealed)


@given(st.text(max_size=2048), st.dictionaries(st.text(max_size=40), st.integers(0, 10**9), max_size=60))
def test_any_word_is_kept_short_and_whole(message: str, refused: dict[str, int]) -> None:
    data = encoded(Termination(reason="BadData", message=message, refused=refused))
    assert len(data) <= TERMINATION_BYTES
    assert Termination.model_validate_json(data).reason == "BadData"
