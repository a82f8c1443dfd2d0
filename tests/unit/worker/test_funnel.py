"""Why instructions are lost, and what that does to lengths, as selection counts it."""

from statistics import mean, median_low

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rehearsal.report.losses import Loss
from rehearsal.worker.funnel import Lengths, answer_unfit, unanswered


@pytest.mark.parametrize(
    ("text", "finish", "loss"),
    [
        ("By the coast.", "stop", None),
        ("By the coast, and", "length", Loss.TRUNCATED),
        ("", "length", Loss.TRUNCATED),
        ("I must", "content_filter", Loss.UNFINISHED),
        ("By the", "control-token", Loss.BROKEN),
        ("", "stop", Loss.EMPTY),
        ("!!!!", "stop", Loss.DEGENERATE),
    ],
)
def test_an_unfit_answer_is_lost_for_what_a_person_can_change(text: str, finish: str, loss: Loss | None) -> None:
    assert answer_unfit(text, [1, 2], finish) is loss


def test_an_instruction_is_lost_for_the_commonest_reason_of_its_answers() -> None:
    assert unanswered([Loss.EMPTY, Loss.TRUNCATED, Loss.EMPTY]) is Loss.EMPTY
    assert unanswered([Loss.EMPTY, Loss.TRUNCATED]) is Loss.TRUNCATED
    assert unanswered([]) is Loss.NO_ANSWER


@given(st.lists(st.text(max_size=8)))
def test_mean_and_median_are_those_of_the_lengths(texts: list[str]) -> None:
    lengths = Lengths()
    for text in texts:
        lengths.add(text)
    sizes = [len(text) for text in texts] or [0]
    assert (lengths.median(), lengths.mean()) == (median_low(sizes), pytest.approx(mean(sizes)))
