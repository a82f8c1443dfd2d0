"""A worker's last word fits what Kubernetes keeps, and can always be read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rehearsal.api.messages import TERMINATION_BYTES, Termination
from rehearsal.data.filters import Reason
from rehearsal.pipeline.sources import external_inputs
from rehearsal.pipeline.stage import MAX_ROUNDS
from rehearsal.pipeline.stages import stages_of
from rehearsal.report.losses import Loss, warning
from rehearsal.worker.__main__ import encoded
from rehearsal.worker.funnel import Funnel
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
    rounds = sorted(stages_of(spec, MAX_ROUNDS), key=lambda stage: stage.round)
    word = Termination(
        inputs=dict.fromkeys(external_inputs(spec), "f" * 64),
        sealed={stage.name: "f" * 64 for stage in rounds},
        facts={"domainRows": 10_000_000, "domainTooLong": 10_000_000, "mixRows": 100_000_000},
    )
    data = encoded(word)
    read = Termination.model_validate_json(data)
    assert len(data) <= TERMINATION_BYTES
    assert read.inputs == word.inputs
    assert list(read.sealed) == list(word.sealed)[: len(read.sealed)]
    assert {stage.name for stage in rounds if stage.round == 1} <= read.sealed.keys(), (
        "later rounds are looked for by their own Jobs"
    )


def test_selections_figures_and_warning_fit_at_the_bounds_of_the_spec() -> None:
    funnel = Funnel(considered=10**7, answers=10**9, cut_off=10**9)
    facts = funnel.facts() | {"rounds": 4, "elicited": 10**8, "accepted": 10**8} | {f"refused.{reason}": 10**7 for reason in Reason}
    for judge in (f"{i}{LONG[1:]}" for i in range(6)):
        facts |= {
            f"mean.{judge}": 4.1234,
            f"bias.{judge}": -0.1234,
            f"selfPreference.{judge}": -0.1234,
            f"abstained.{judge}": 10**6,
        }
    lost = dict.fromkeys(map(str, Loss), 10**6)
    words = warning(parsed(), facts, lost)
    assert 200 < len(words) <= 1024
    word = Termination(fingerprint="f" * 64, manifest_digest="f" * 64, rows=10**7, refused=lost, facts=facts, message=words)
    assert Termination.model_validate_json(encoded(word)) == word


@given(st.text(max_size=2048), st.dictionaries(st.text(max_size=40), st.integers(0, 10**9), max_size=60))
def test_any_word_is_kept_short_and_whole(message: str, refused: dict[str, int]) -> None:
    data = encoded(Termination(reason="BadData", message=message, refused=refused))
    assert len(data) <= TERMINATION_BYTES
    assert Termination.model_validate_json(data).reason == "BadData"
