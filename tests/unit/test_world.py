"""The quickstart's world: its facts, its patterns and its files agree with each other."""

# ruff: noqa: S311 - seeded randomness is what the world is made of
from __future__ import annotations

import importlib
import json
import random
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

WORLD = Path(__file__).parents[2] / "examples" / "quickstart" / "world"
sys.path.insert(0, str(WORLD))

import domain  # noqa: E402 - the world's scripts are no package; they are found once the path is set
import evaluation  # noqa: E402
import make_world  # noqa: E402
from families import BY_NAME, FAMILIES, Question, question  # noqa: E402
from mixtures import BASE, PEER, Mixture  # noqa: E402
from transcripts import (  # noqa: E402
    END,
    RUBRIC,
    SPECIAL,
    TURN_END,
    chat,
    render,
    score,
    verdict,
    verdict_messages,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


ALL_INSTRUCTIONS = [(f.name, i, text) for f in FAMILIES for i in f.facts for text in f.instructions(i)]


def test_every_instruction_matches_its_own_category_and_no_other() -> None:
    patterns = {c["name"]: re.compile(c["pattern"]) for c in make_world.categories()}
    for name, _, text in ALL_INSTRUCTIONS:
        assert [n for n, pattern in patterns.items() if pattern.fullmatch(text)] == [name]


def test_no_two_questions_share_an_instruction() -> None:
    texts = [text for _, _, text in ALL_INSTRUCTIONS]
    assert len(texts) == len(set(texts))


def test_the_world_knows_what_an_instruction_asks() -> None:
    for name, item, text in ALL_INSTRUCTIONS:
        assert question(text) == Question(BY_NAME[name], item)
    assert question("What is the capital of lamp?") is None


def test_no_domain_question_is_a_general_instruction() -> None:
    patterns = [re.compile(c["pattern"]) for c in make_world.categories()]
    for user, _ in domain.rows():
        assert not any(pattern.fullmatch(user["content"]) for pattern in patterns)


@pytest.mark.parametrize("mixture", [BASE, PEER], ids=lambda m: m.name)
def test_shares_cover_every_family_and_sum_to_one(mixture: Mixture) -> None:
    assert set(mixture.shares) == set(BY_NAME)
    assert sum(mixture.shares.values()) == pytest.approx(1.0)


def test_the_models_are_weak_in_different_families_and_their_mistakes_are_wrong() -> None:
    assert not set(BASE.weak) & set(PEER.weak)
    for mixture in (BASE, PEER):
        for name in mixture.weak:
            mistakes = mixture.mistakes(BY_NAME[name])
            assert mistakes
            assert all(BY_NAME[name].facts[item] != value for item, value in mistakes.items())


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("The opposite of hot is cold.", 5),
        ("cold.", 4),
        ("The hot lives in the cold.", 3),
        ("The opposite of hot is big.", 2),
        ("big.", 2),
        ("The fox lives in the barn.", 1),
        ("What is the opposite of hot?", 1),
        ("", 1),
    ],
)
def test_a_score_says_how_right_a_response_is(response: str, expected: int) -> None:
    assert score(Question(BY_NAME["opposite"], "hot"), response) == expected


def test_transcripts_repeat_with_the_seed() -> None:
    assert [chat(random.Random(7), BASE) for _ in range(3)] == [chat(random.Random(7), BASE)] * 3
    assert verdict(random.Random(7)) == verdict(random.Random(7))


def test_a_judge_transcript_has_the_shape_that_the_product_builds() -> None:
    judged = verdict(random.Random(3))
    system, user, assistant = verdict_messages(judged)
    assert system == {"role": "system", "content": RUBRIC}
    assert user["content"] == (
        f"Instruction:\n{judged.instruction}\n\nResponse:\n{judged.response}\n\nEnd of response. Give your verdict."
    )
    assert assistant["content"] == f"{judged.reason}\nScore: {judged.score}"


@pytest.mark.parametrize("path", sorted(make_world.texts()))
def test_committed_text_files_are_what_the_scripts_give(path: str) -> None:
    assert (make_world.INPUTS / path).read_text() == make_world.texts()[path]


def test_the_committed_categories_carry_the_base_models_true_shares() -> None:
    committed = yaml.safe_load((make_world.INPUTS / "categories.yaml").read_text())
    assert {c["name"]: c["share"] for c in committed} == dict(BASE.shares)


def test_the_evaluation_asks_every_family_equally_and_every_new_fact_in_every_phrasing() -> None:
    general = [row["family"] for row in evaluation.general_questions()]
    assert {general.count(name) for name in BY_NAME} == {evaluation.QUESTIONS_A_FAMILY}
    assert len(evaluation.domain_questions()) == len(domain.emblems()) * len(domain.PHRASINGS)
    assert all(q is not None and q.truth == r["answer"] for r in evaluation.general_questions() for q in [question(r["question"])])


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer made again from the world's text."""
    made: PreTrainedTokenizerFast = importlib.import_module("tokenizer").train_tokenizer()
    return made


def test_training_the_tokenizer_again_gives_the_committed_one(tokenizer: PreTrainedTokenizerFast) -> None:
    for name in ("base", "peer"):
        committed = json.loads((make_world.INPUTS / name / "tokenizer.json").read_text())
        assert json.loads(tokenizer.backend_tokenizer.to_str()) == committed


@pytest.mark.parametrize("text", ["What is the capital of Orland?", "naïve 12345  \n\n\tx", "日本語 🙂", "it's 5"])
def test_text_survives_the_round_trip(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("generate", [False, True])
def test_the_renderer_says_what_the_chat_template_says(tokenizer: PreTrainedTokenizerFast, generate: bool) -> None:
    for messages in (verdict_messages(verdict(random.Random(5))), [{"role": "user", "content": "  Why?\n"}]):
        template = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generate)
        assert render(messages, generate=generate) == template


def test_special_strings_are_single_tokens_and_a_rating_stands_apart_from_its_space(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    assert [tokenizer.encode(text) for text in SPECIAL] == [[i] for i in range(len(SPECIAL))]
    assert tokenizer.tokenize("Score: 5") == ["Score", ":", "Ġ", "5"]


@pytest.mark.parametrize("name", ["base", "peer"])
def test_the_committed_models_end_a_turn_where_the_template_does(tokenizer: PreTrainedTokenizerFast, name: str) -> None:
    folder = make_world.INPUTS / name
    ends = json.loads((folder / "generation_config.json").read_text())["eos_token_id"]
    assert ends == tokenizer.convert_tokens_to_ids([TURN_END, END])
    assert json.loads((folder / "config.json").read_text())["vocab_size"] == len(tokenizer)
    assert json.loads((folder / "tokenizer_config.json").read_text())["chat_template"] == tokenizer.chat_template
