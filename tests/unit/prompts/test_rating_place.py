"""Where the rating's token stands in an assistant's turn."""

import dataclasses
from itertools import pairwise

import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from rehearsal.api.messages import Refused
from rehearsal.prompts.conversation import encode_conversation
from rehearsal.prompts.masks import tokenise_sample
from rehearsal.prompts.ratings import rating_place
from rehearsal.prompts.template import Message
from tests.unit.prompts.model_families import TEXT, WORDS, llama3


def with_numbers_written(pattern: str, text: list[str]):
    """A Llama-3-like family whose pre-tokenizer takes numbers as `pattern` says."""
    family = llama3()
    words = WORDS.replace(r"\p{N}{1,3}", pattern)
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(words), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    core.decoder = family.core.decoder
    trainer = trainers.BpeTrainer(vocab_size=500, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    core.train_from_iterator(text, trainer)
    core.add_special_tokens([token for _, token in sorted(family.core.get_added_tokens_decoder().items())])
    return dataclasses.replace(family, core=core)


def test_the_prefix_and_one_rating_are_how_the_turn_would_be_written(tokenizer):
    place = rating_place(tokenizer)
    asked = [Message("user", "Rate the otter.")]
    for rating, id_ in enumerate(place.rating_ids, start=1):
        sample = tokenise_sample(tokenizer, [*asked, Message("assistant", f"Score: {rating}")])
        ((start, end),) = sample.spans
        assert sample.ids[:start] == encode_conversation(tokenizer, asked, True)
        assert sample.ids[start : end - 1] == [*place.prefix_ids, id_]
    assert len(set(place.rating_ids)) == 5


def test_a_digit_on_its_own_leaves_the_space_in_the_prefix(tokenizers):
    place = rating_place(tokenizers["llama3"])
    assert tokenizers["llama3"].decode(place.prefix_ids) == "Score: "
    assert [tokenizers["llama3"].decode([id_]) for id_ in place.rating_ids] == list("12345")


def test_a_digit_with_its_space_leaves_the_colon_last(tmp_path):
    tokenizer = with_numbers_written(r" ?\p{N}", [*TEXT, "Score: 4 Score: 4"]).load(tmp_path)
    place = rating_place(tokenizer)
    assert tokenizer.decode(place.prefix_ids) == "Score:"
    assert [tokenizer.decode([id_]) for id_ in place.rating_ids] == [" 1", " 2", " 3", " 4", " 5"]


def test_ratings_that_are_not_all_one_token_are_refused(tmp_path):
    scores = ["Score: 4 Score: 5 Score: 1 and 2 and 3"] * 8
    tokenizer = with_numbers_written(r" ?\p{N}", [line.replace("1", "").replace(" 2", "") for line in scores]).load(tmp_path)
    with pytest.raises(Refused, match=r"judging\.mode Justify"):
        rating_place(tokenizer)


def test_rating_ids_are_told_apart(tokenizer):
    assert all(a != b for a, b in pairwise(rating_place(tokenizer).rating_ids))
