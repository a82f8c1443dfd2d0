"""Rows that can be asked and scored, and rows that cannot, as the bounded process tells them apart."""

from typing import Any

import pytest

from rehearsal.worker.tasks.questions import MAX_CHARACTERS, prepare
from rehearsal.worker.tasks.schema import TaskConfig

WRITTEN: dict[str, Any] = {
    "task": "t",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": ["t.jsonl"]}},
    "test_split": "test",
    "doc_to_text": "question",
    "doc_to_target": "answer",
    "metric_list": [{"metric": "exact_match"}],
}
CHOICES = {
    **WRITTEN,
    "output_type": "multiple_choice",
    "doc_to_choice": "{{['no', 'yes']}}",
    "metric_list": [{"metric": "acc"}],
}
LISTED = {**CHOICES, "doc_to_choice": "choices"}
NUMBERED = {**CHOICES, "doc_to_text": "place"}
ASKED = {"question": "q", "answer": "a"}


def told(config: dict[str, Any], *rows: dict[str, Any], shots: bool = False) -> str:
    """What is wrong with the last of the rows."""
    given = {"config": TaskConfig.model_validate(config).model_dump(mode="json", exclude_unset=True), "fields": sorted(rows[0])}
    found = prepare(given)({"rows": list(rows), "shots": shots})
    assert found is None or found["row"] == str(len(rows) - 1)
    return f"{found['key']} {found['problem']}" if found else ""


@pytest.mark.parametrize(
    ("config", "row"),
    [
        (WRITTEN, ASKED),
        (WRITTEN, {"question": "q", "answer": ""}),
        (WRITTEN, {"question": "q", "answer": ["a", "b"]}),
        (WRITTEN, {"question": "12", "answer": "a"}),
        ({**WRITTEN, "doc_to_target": "{{answer}}"}, {"question": "q", "answer": 5}),
        ({**WRITTEN, "doc_to_choice": ["x", "y"]}, {"question": "q", "answer": 1}),
        ({**WRITTEN, "output_type": "loglikelihood", "metric_list": [{"metric": "acc"}]}, ASKED),
        (CHOICES, {"question": "q", "answer": "no"}),
        (CHOICES, {"question": "q", "answer": 1}),
        (CHOICES, {"question": "q", "answer": [0, 1]}),
        ({**CHOICES, "doc_to_target": "{{answer}}"}, {"question": "q", "answer": 1}),
        (LISTED, {"question": "q", "answer": 1, "choices": ["x", "y"]}),
        (NUMBERED, {"place": 1, "answer": "a"}),
    ],
)
def test_rows_that_can_be_asked(config: dict[str, Any], row: dict[str, Any]) -> None:
    assert told(config, row) == ""


@pytest.mark.parametrize(
    ("config", "row", "words"),
    [
        (WRITTEN, {"question": 7, "answer": "a"}, "doc_to_text gives a number where a text is needed"),
        (WRITTEN, {"question": None, "answer": "a"}, "doc_to_text gives null where a text"),
        (WRITTEN, {"question": "", "answer": "a"}, "doc_to_text gives a text that is empty"),
        (WRITTEN, {"question": "q", "answer": 7}, "doc_to_target gives a number where a text"),
        (WRITTEN, {"question": "q", "answer": []}, "doc_to_target gives a list where a text"),
        (WRITTEN, {"question": "q", "answer": ["a", 1]}, "doc_to_target gives a number where a text"),
        (
            {**WRITTEN, "doc_to_target": "{{answer}}"},
            {"question": "q", "answer": "[1]"},
            "doc_to_target gives a number where a text",
        ),
        (CHOICES, {"question": "q", "answer": "maybe"}, "doc_to_target gives a text that is none of the choices"),
        (CHOICES, {"question": "q", "answer": 2}, "doc_to_target gives place 2, but the places of the 2 choices are 0 to 1"),
        (CHOICES, {"question": "q", "answer": -1}, "doc_to_target gives place -1"),
        (CHOICES, {"question": "q", "answer": True}, "doc_to_target gives true or false, which is none of the choices"),
        (CHOICES, {"question": "q", "answer": 1.0}, "doc_to_target gives a number with a point"),
        (CHOICES, {"question": "q", "answer": ["no"]}, "doc_to_target gives a text, which is none of the choices; give its place"),
        (CHOICES, {"question": "q", "answer": []}, "doc_to_target gives a list, which is none"),
        ({**CHOICES, "doc_to_choice": "['a', '']"}, ASKED, "doc_to_choice gives a choice that is empty"),
        ({**CHOICES, "doc_to_choice": "['a']"}, ASKED, "doc_to_choice must give a list of two choices or more"),
        ({**CHOICES, "doc_to_choice": "('a', 'b')"}, ASKED, "doc_to_choice must give a list"),
        ({**CHOICES, "doc_to_choice": "{{ '[' * 300 }}"}, ASKED, "doc_to_choice cannot be computed: SyntaxError"),
        ({**CHOICES, "doc_to_choice": "open('x')"}, ASKED, "doc_to_choice cannot be computed: ValueError"),
        ({**CHOICES, "doc_to_text": "{{ '007' }}"}, ASKED, "doc_to_text cannot be computed: SyntaxError"),
        (LISTED, {"question": "q", "answer": 0, "choices": "xy"}, "doc_to_choice must give a list"),
        (NUMBERED, {"place": 2, "answer": "a"}, "doc_to_text gives place 2"),
        ({**WRITTEN, "doc_to_choice": ["x", "y"]}, {"question": "q", "answer": "x"}, "doc_to_target gives a text, which is none"),
        ({**WRITTEN, "gen_prefix": "answer"}, {"question": "q", "answer": 3}, "gen_prefix gives a number"),
        ({**WRITTEN, "description": "answer"}, {"question": "q", "answer": 3}, "description gives a number"),
        ({**WRITTEN, "doc_to_text": f"{{{{ 'a' * {MAX_CHARACTERS + 1} }}}}"}, ASKED, "doc_to_text gives a text that has 4,194,305"),
        (
            {**WRITTEN, "doc_to_text": "{{ question.append(1) }}"},
            {"question": [1], "answer": "a"},
            "doc_to_text cannot be computed: Sec",
        ),
    ],
)
def test_rows_that_cannot_be_asked(config: dict[str, Any], row: dict[str, Any], words: str) -> None:
    assert told(config, row).startswith(words)


def test_no_words_of_a_row_are_told() -> None:
    config = {**WRITTEN, "doc_to_text": "{{ {}[question] }}"}
    assert told(config, {"question": "hunter2", "answer": "a"}).endswith("UndefinedError: … has no attribute …")


def test_a_key_means_the_same_in_every_row() -> None:
    assert "gives a text, but a number in the first row" in told(
        CHOICES, {"question": "q", "answer": 1}, {"question": "q", "answer": "no"}
    )
    assert "gives a list, but a text in the first row" in told(WRITTEN, ASKED, {"question": "q", "answer": ["a"]})
    assert "names a field that this row does not have" in told(WRITTEN, ASKED, {"question": "q"})


def test_a_solved_example_has_an_answer_in_words() -> None:
    assert told(CHOICES, {"question": "q", "answer": 1}, shots=True) == ""
    assert told(WRITTEN, {"question": "q", "answer": ["a", "b"]}, shots=True) == ""
    assert "gives a text that is empty" in told(WRITTEN, {"question": "q", "answer": ""}, shots=True)
    assert "gives a number where a text" in told(CHOICES, {"question": "q", "answer": [0, 1]}, shots=True)
    other = {**WRITTEN, "fewshot_config": {"doc_to_text": "{{q}}"}}
    assert "fewshot_config.doc_to_text cannot be computed: UndefinedError: 'q' is undefined" in told(other, ASKED, shots=True)
