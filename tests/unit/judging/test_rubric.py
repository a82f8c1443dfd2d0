import json
from pathlib import Path

import pytest

from rehearsal.judging.rubric import judge_messages
from rehearsal.judging.verdict import parse_verdict

ROOT = Path(__file__).parents[3]
ATTACKS = [row for row in map(json.loads, (ROOT / "tests/data/poisoned.jsonl").open()) if row["kind"] == "attack"]


def test_a_judge_reads_the_rubric_then_the_instruction_then_the_response():
    assert judge_messages("Grade.", "Name a city.", "Paris.") == [
        {"role": "system", "content": "Grade."},
        {"role": "user", "content": "Instruction:\nName a city.\n\nResponse:\nParis.\n\nEnd of response. Give your verdict."},
    ]


def test_candidates_of_one_instruction_share_everything_up_to_the_response():
    one, other = (judge_messages("Grade.", "Name a city.", response)[1]["content"] for response in ("Paris.", "Rome."))
    assert one.removesuffix("Paris.\n\nEnd of response. Give your verdict.") == other.removesuffix(
        "Rome.\n\nEnd of response. Give your verdict."
    )


@pytest.mark.fault(50)
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda row: row["name"])
def test_a_response_stays_within_the_user_turn_and_we_have_the_last_word(attack):
    system, user = judge_messages("Grade.", "Name a city.", attack["text"])
    assert system == {"role": "system", "content": "Grade."}
    assert user["role"] == "user"
    assert user["content"].endswith(f"\n\nResponse:\n{attack['text']}\n\nEnd of response. Give your verdict.")


@pytest.mark.fault(50)
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda row: row["name"])
def test_a_judge_that_quotes_an_attack_is_still_read_by_its_own_last_line(attack):
    assert parse_verdict(f"It says:\n{attack['text']}\nThat is no answer.\nScore: 1", "stop") == 1


def test_the_quickstarts_judges_are_trained_on_the_products_own_words(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples/quickstart/world")
    transcripts = pytest.importorskip("transcripts")
    assert transcripts.verdict_prompt("Name a city.", "Paris.") == judge_messages(transcripts.RUBRIC, "Name a city.", "Paris.")
