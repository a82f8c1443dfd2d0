"""Conversations as ids: what the template writes, and what was said in its places."""

import dataclasses

import pytest

from rehearsal.prompts.conversation import encode_continuation, encode_conversation
from rehearsal.prompts.template import Message, UnencodableError
from tests.unit.prompts.model_families import FAMILIES, GEMMA, INST, LLAMA3, gemma, llama3, mistral

TALK = [
    Message("user", "What colour is the otter?\n\nSay why."),
    Message("assistant", "Brown,  said the badger."),
    Message("user", "17 中文 naïve"),
    Message("assistant", "def f(x):\n    return x"),
]
EMPTY_TURN = [Message("user", ""), Message("assistant", "hello")]
SPACED = [Message("user", " \nhello  "), Message("assistant", "hello \n")]


@pytest.mark.parametrize(
    "messages", [TALK, TALK[:3], TALK[:1], EMPTY_TURN, SPACED], ids=["talk", "asked", "first", "empty", "spaced"]
)
@pytest.mark.parametrize("prompt", [False, True])
def test_ordinary_text_gets_the_ids_that_the_plain_tokenizer_gives_the_rendered_text(tokenizer, messages, prompt):
    rendered = tokenizer.template.render(messages, prompt)
    assert encode_conversation(tokenizer, messages, prompt) == [id_ for id_, _ in tokenizer.encode_template(rendered)]


def test_a_word_right_after_a_control_token_gets_no_space_that_nobody_wrote(tmp_path):
    template = INST.replace("'[INST] '", "'[INST]'").replace("' ' + m.content", "m.content").replace("OPEN_END", "'[/INST]'")
    tokenizer = dataclasses.replace(mistral(), template=template).load(tmp_path)
    rendered = tokenizer.template.render(TALK, False)
    assert encode_conversation(tokenizer, TALK, False) == [id_ for id_, _ in tokenizer.encode_template(rendered)]


def test_ids_and_text_agree_with_transformers(tmp_path, tokenizers):
    transformers = pytest.importorskip("transformers")
    for name, make in FAMILIES.items():
        theirs = transformers.PreTrainedTokenizerFast.from_pretrained(str(make().save(tmp_path / name)))
        for messages in (TALK, TALK[:1]):
            rows = [dataclasses.asdict(message) for message in messages]
            expected = theirs.apply_chat_template(rows, add_generation_prompt=True, tokenize=True, return_dict=False)
            assert encode_conversation(tokenizers[name], messages, True) == expected, name


def test_a_prompt_is_the_beginning_of_the_conversation_that_follows_it(tokenizer):
    for words in ("Brown.", "\n\nBrown.", " Brown."):
        asked = [Message("user", "What colour is the otter?")]
        prompt = encode_conversation(tokenizer, asked, True)
        whole = encode_conversation(tokenizer, [*asked, Message("assistant", words)], False)
        assert whole[: len(prompt)] == prompt


def test_a_continuation_goes_on_from_the_prompt_as_the_whole_turn_would(tokenizer):
    asked = [Message("user", "What colour is the otter?")]
    whole = encode_conversation(tokenizer, [*asked, Message("assistant", "Score: 4")], False)
    prompt = encode_conversation(tokenizer, asked, True)
    assert whole[len(prompt) :][: len(encode_continuation(tokenizer, "Score: 4"))] == encode_continuation(tokenizer, "Score: 4")
    assert tokenizer.decode_after(prompt, encode_continuation(tokenizer, "Score:")).strip() == "Score:"


def test_a_system_turn_stands_where_the_template_has_one(tokenizers):
    ids = encode_conversation(tokenizers["llama3"], [Message("system", "Be brief."), Message("user", "Hi")], True)
    assert (
        tokenizers["llama3"]
        .decode(ids)
        .startswith("<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>")
    )


@pytest.mark.parametrize("family", ["gemma", "mistral", "mistral_in_text"])
def test_a_system_text_without_a_place_goes_before_the_first_user_turn(tokenizers, family):
    tokenizer = tokenizers[family]
    placed = encode_conversation(tokenizer, [Message("system", "Be brief."), *TALK], False)
    assert placed == encode_conversation(tokenizer, [Message("user", f"Be brief.\n\n{TALK[0].content}"), *TALK[1:]], False)


def test_a_template_that_drops_the_system_turn_gets_it_in_the_user_turn(tmp_path):
    template = LLAMA3.replace("{% for m in messages %}", "{% for m in messages if m.role != 'system' %}")
    tokenizer = dataclasses.replace(llama3(), template=template).load(tmp_path)
    ids = encode_conversation(tokenizer, [Message("system", "Be brief."), Message("user", "Hi")], True)
    assert "Be brief.\n\nHi" in tokenizer.decode(ids)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("m.content | trim", "m.content | upper"), "rewrites or drops the user's text"),
        (("m.content | trim", "m.content ~ m.content"), "repeats the user's text"),
        (("m.content | trim", "m.content | e"), "rewrites or drops the user's text"),
        (("in messages %}", "in messages | reverse %}"), "moves the user's or assistant's text"),
        (("m.content | trim", "m.content | replace('\\t', '')"), "rewrites a text by what stands at its ends"),
        (("m.content | trim", "m.content.replace('secret', '***')"), "rewrites a message by what it says"),
    ],
)
def test_a_template_that_touches_what_is_said_is_refused(tmp_path, change, words):
    tokenizer = dataclasses.replace(llama3(), template=LLAMA3.replace(*change)).load(tmp_path)
    with pytest.raises(UnencodableError, match=words):
        encode_conversation(tokenizer, [Message("user", "a secret"), Message("assistant", "kept")], False)


def test_roles_that_the_template_refuses_are_named(tokenizers):
    with pytest.raises(UnencodableError, match="refuses the roles user, user: turns must alternate"):
        encode_conversation(tokenizers["gemma"], [Message("user", "a"), Message("user", "b")], True)


def test_a_refusal_does_not_quote_what_was_said(tmp_path):
    template = GEMMA.replace(
        "{{ bos_token }}",
        "{{ bos_token }}{% if 'canary' in messages[0].content %}{{ raise_exception(messages[0].content) }}{% endif %}",
    )
    tokenizer = dataclasses.replace(gemma(), template=template).load(tmp_path)
    with pytest.raises(UnencodableError) as refused:
        encode_conversation(tokenizer, [Message("user", "canary")], True)
    assert str(refused.value) == "the chat template refuses a message by what it says"
