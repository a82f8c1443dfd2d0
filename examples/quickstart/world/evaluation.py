"""The evaluation: two ordinary lm-eval tasks, one asking what the base model was aligned on, one asking the domain."""

import random
from typing import Any

import domain
from families import FACTS_SEED, FAMILIES

QUESTIONS_A_FAMILY = 36
LONGEST_ANSWER = 32

Row = dict[str, str]


def general_questions() -> list[Row]:
    """Every family equally often, whatever its share: what is rare in alignment may not be forgotten either."""
    rng = random.Random(f"{FACTS_SEED}:general questions")
    chosen: list[Row] = []
    for family in FAMILIES:
        asked = [(instruction, item) for item in family.facts for instruction in family.instructions(item)]
        for instruction, item in rng.sample(asked, QUESTIONS_A_FAMILY):
            chosen.append({"family": family.name, "question": instruction, "answer": family.truth(item)})
    return chosen


def domain_questions() -> list[Row]:
    """Every new fact in every phrasing."""
    return [
        {"family": "emblem", "question": phrasing.format(item=country), "answer": domain.truth(country)}
        for country in domain.emblems()
        for phrasing in domain.PHRASINGS
    ]


def task(name: str, turn_end: str) -> dict[str, Any]:
    """The task file that asks the questions of `<name>.jsonl` beside it and compares whole answers."""
    return {
        "task": f"quickstart_{name}",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": f"{name}.jsonl"}},
        "test_split": "test",
        "output_type": "generate_until",
        "num_fewshot": 0,
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {
            "until": [turn_end],
            "do_sample": False,
            "temperature": 0.0,
            "max_gen_toks": LONGEST_ANSWER,
        },
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 1.0},
    }
