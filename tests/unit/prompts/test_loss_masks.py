"""What carries loss: every assistant turn up to the token that ends it, and nothing else."""

import dataclasses

import pytest
from tokenizers import pre_tokenizers

from rehearsal.prompts.conversation import encode_conversation
from rehearsal.prompts.masks import tokenise_sample
from rehearsal.prompts.template import Message, UnencodableError
from rehearsal.prompts.turns import assistant_end_ids
from tests.unit.prompts.model_families import INST, LLAMA3, llama3, mistral_in_text

TALK = [
    Message("user", "What colour is the otter?"),
    Message("assistant", "Brown.\n\nSaid the badger."),
    Message("user", "And 17 pears?"),
    Message("assistant", "中文 | a |"),
]
END = {"llama3": "<|eot_id|>", "chatml": "<|im_end|>", "gemma": "<end_of_turn>", "mistral": "</s>", "mistral_in_text": "</s>"}


@pytest.mark.parametrize("family", END)
@pytest.mark.parametrize("system", [[], [Message("system", "Be brief.")]], ids=["", "system"])
def test_spans_hold_the_assistants_words_and_the_token_that_ends_them(tokenizers, family, system):
    tokenizer = tokenizers[family]
    sample = tokenise_sample(tokenizer, [*system, *TALK])
    trained = [tokenizer.decode(sample.ids[start:end]).strip() for start, end in sample.spans]
    assert trained == [f"Brown.\n\nSaid the badger.{END[family]}", f"中文 | a |{END[family]}"]
    assert {sample.ids[end - 1] for _, end in sample.spans} <= assistant_end_ids(tokenizer)


def test_a_span_begins_where_the_generation_prompt_ends(tokenizer):
    sample = tokenise_sample(tokenizer, TALK)
    for (start, _), asked in zip(sample.spans, (TALK[:1], TALK[:3]), strict=True):
        assert sample.ids[:start] == encode_conversation(tokenizer, asked, True)


def test_control_tokens_spelt_in_an_answer_are_trained_as_text_and_do_not_end_its_span(tokenizers):
    tokenizer = tokenizers["llama3"]
    sample = tokenise_sample(tokenizer, [TALK[0], Message("assistant", "say <|eot_id|> twice")])
    ((start, end),) = sample.spans
    assert tokenizer.decode(sample.ids[start:end]) == "say <|eot_id|> twice<|eot_id|>"
    assert sum(id_ in tokenizer.control_ids for id_ in sample.ids[start:end]) == 1


def test_an_empty_answer_trains_its_end_alone(tokenizers):
    sample = tokenise_sample(tokenizers["llama3"], [TALK[0], Message("assistant", "")])
    ((start, end),) = sample.spans
    assert end - start == 1


def test_a_conversation_without_an_assistant_is_refused(tokenizer):
    with pytest.raises(UnencodableError, match="nothing in it can be learned"):
        tokenise_sample(tokenizer, TALK[:1])


def test_a_template_that_never_ends_the_assistants_turn_is_refused(tmp_path):
    template = INST.replace("OPEN_END", "' [/INST]'").replace(" + eos_token", "")
    tokenizer = dataclasses.replace(mistral_in_text(), template=template).load(tmp_path)
    with pytest.raises(UnencodableError, match="no end-of-turn token"):
        tokenise_sample(tokenizer, TALK)


def test_an_answer_that_does_not_come_back_from_its_tokens_is_refused(tmp_path):
    family = llama3()
    family.core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(" ", "removed"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    with pytest.raises(UnencodableError, match="does not come back"):
        tokenise_sample(family.load(tmp_path), TALK)


def test_a_template_that_shows_only_some_answers_is_refused(tmp_path):
    template = LLAMA3.replace("{{ m.content | trim }}", "{{ m.content | trim if loop.last or m.role == 'user' }}")
    tokenizer = dataclasses.replace(llama3(), template=template).load(tmp_path)
    with pytest.raises(UnencodableError, match="drops the assistant's text"):
        tokenise_sample(tokenizer, TALK)
