"""The pre-query of each template family, and templates from which none can be derived."""

import dataclasses

import pytest

from rehearsal.api.messages import Refused
from rehearsal.prompts.conversation import encode_conversation
from rehearsal.prompts.prequery import derive_pre_query, read_instruction
from rehearsal.prompts.template import Message
from rehearsal.prompts.turns import assistant_end_ids
from tests.unit.prompts.model_families import CHATML, LLAMA3, chatml, gemma, llama3

TABLE = {
    "llama3": ("<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n", "", "<|eot_id|>", "<|eot_id|>"),
    # A message that begins with a line end would change the template's own: the model writes it.
    "chatml": ("<|im_start|>system\nYou are a careful helper.<|im_end|>\n<|im_start|>user", "\n", "<|im_end|>", "<|im_end|>"),
    "gemma": ("<bos><start_of_turn>user\n", "", "<end_of_turn>", "<end_of_turn>"),
    "mistral": ("<s>[INST]", " ", "[/INST]", "</s>"),
}


@pytest.mark.parametrize("family", TABLE)
def test_each_family_has_its_pre_query_and_its_two_ends(tokenizers, family):
    tokenizer = tokenizers[family]
    text, lead, user_end, assistant_end = TABLE[family]
    pre_query = derive_pre_query(tokenizer)
    assert tokenizer.decode(pre_query.ids) == text
    assert pre_query.lead == lead
    assert [tokenizer.decode([id_]) for id_ in pre_query.user_end_ids] == [user_end]
    assert [tokenizer.decode([id_]) for id_ in assistant_end_ids(tokenizer)] == [assistant_end]


@pytest.mark.parametrize("family", TABLE)
@pytest.mark.parametrize("words", ["hello", "What colour?", "17 pears", "中文", "| a |\n| b |", "\n\nhello", "é"])
def test_every_user_turn_begins_with_the_pre_query_and_is_read_back_from_what_follows(tokenizers, family, words):
    tokenizer = tokenizers[family]
    pre_query = derive_pre_query(tokenizer)
    ids = encode_conversation(tokenizer, [Message("user", words), Message("assistant", "hello")], False)
    assert tuple(ids[: len(pre_query.ids)]) == pre_query.ids
    said = read_instruction(tokenizer, pre_query, ids[len(pre_query.ids) :])
    assert said == (words.strip() if family in ("llama3", "gemma") else words)


def test_what_does_not_go_on_as_the_template_does_is_no_instruction(tokenizers):
    tokenizer = tokenizers["chatml"]
    assert read_instruction(tokenizer, derive_pre_query(tokenizer), tokenizer.encode_content(" hello")) is None


def test_text_that_the_template_puts_after_the_users_words_is_taken_off_only_at_the_end_of_the_turn(tmp_path):
    template = LLAMA3.replace("{{ m.content | trim }}", "{{ m.content | trim }} ##")
    tokenizer = dataclasses.replace(llama3(), template=template).load(tmp_path)
    pre_query = derive_pre_query(tokenizer)
    (end,) = pre_query.user_end_ids
    assert pre_query.trails == (" ##",)
    assert read_instruction(tokenizer, pre_query, [*tokenizer.encode_content("hello ##"), end]) == "hello"
    assert read_instruction(tokenizer, pre_query, tokenizer.encode_content("hello ##")) == "hello ##"


def test_a_written_pre_query_is_taken_at_its_word(tokenizers):
    tokenizer = tokenizers["chatml"]
    pre_query = derive_pre_query(tokenizer, "<|im_start|>user\n")
    assert tokenizer.decode(pre_query.ids) == "<|im_start|>user\n"
    assert pre_query.lead == ""
    assert pre_query.user_end_ids == derive_pre_query(tokenizer).user_end_ids


def test_a_space_at_the_end_of_a_written_pre_query_is_left_to_the_model(tokenizers):
    pre_query = derive_pre_query(tokenizers["mistral"], "<s>[INST] ")
    assert (tokenizers["mistral"].decode(pre_query.ids), pre_query.lead) == ("<s>[INST]", " ")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("m.content | trim", "m.content | lower"), "rewrites or drops the user's text"),
        (("m.content | trim", "m.content + ' ' + m.content"), "repeats the user's text"),
        (("in messages %}", "in messages | sort(attribute='role') %}"), "moves the user's or assistant's text"),
    ],
)
def test_a_template_without_a_steady_place_for_the_users_words_is_refused(tmp_path, change, words):
    tokenizer = dataclasses.replace(llama3(), template=LLAMA3.replace(*change)).load(tmp_path)
    with pytest.raises(Refused, match=words):
        derive_pre_query(tokenizer)


def test_where_no_token_closes_a_turn_the_next_header_ends_it(tmp_path):
    tokenizer = dataclasses.replace(llama3(), template=LLAMA3.replace("<|eot_id|>", "")).load(tmp_path)
    ((header, _),) = tokenizer.encode_template("<|start_header_id|>")
    assert derive_pre_query(tokenizer).user_end_ids == {header}


def test_a_template_whose_beginning_depends_on_the_users_words_is_refused_unless_the_pre_query_is_written(tmp_path):
    template = "{% if messages[0].content[0] == '7' %}<|im_start|>system\nCount.<|im_end|>{% endif %}" + CHATML
    tokenizer = dataclasses.replace(chatml(), template=template).load(tmp_path)
    with pytest.raises(Refused, match=r"depends on the user's words; set spec\.rehearsal\.reconstructed\.preQuery\.text"):
        derive_pre_query(tokenizer)
    assert derive_pre_query(tokenizer, "<|im_start|>user\n").ids


def test_a_turn_that_ends_in_plain_text_is_refused(tokenizers):
    with pytest.raises(Refused, match=r"ends the user's turn with the text ' \[/INST\]', not with a control token"):
        derive_pre_query(tokenizers["mistral_in_text"])


def test_a_template_that_writes_nothing_first_is_refused(tmp_path):
    template = "{% for m in messages %}{{ m.content }}<end_of_turn>{% endfor %}"
    tokenizer = dataclasses.replace(gemma(), template=template).load(tmp_path)
    with pytest.raises(Refused, match="writes nothing before the user's words"):
        derive_pre_query(tokenizer)
