"""Hostile model files: whatever they compute, the stage gets an error in words, and a long conversation costs what it is long."""

import dataclasses
import json
import time

import pytest

import rehearsal.prompts.model
from rehearsal.api.messages import Refused
from rehearsal.prompts.masks import tokenise_sample
from rehearsal.prompts.model import ChatModel
from rehearsal.prompts.template import ChatTemplate, Message, UnencodableError, UnfitTemplateError
from tests.unit.prompts.model_families import INST, LLAMA3, llama3, mistral_in_text

LOOPS = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
DOUBLING = "{% set ns=namespace(s='aaaaaaaaaa') %}{% for i in range(40) %}{% set ns.s=ns.s~ns.s %}{% endfor %}"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(rehearsal.prompts.model, "SECONDS", 1)
    monkeypatch.setattr(rehearsal.prompts.model, "MEMORY", 2**29)
    return llama3().save(tmp_path / "model")


def with_template(folder, source):
    (folder / "chat_template.jinja").write_text(source)
    return ChatModel.load(folder)


def with_normalizer(folder, *replacements):
    file = folder / "tokenizer.json"
    steps = [{"type": "Replace", "pattern": pattern, "content": content} for pattern, content in replacements]
    file.write_text(json.dumps(json.loads(file.read_text()) | {"normalizer": {"type": "Sequence", "normalizers": steps}}))
    return ChatModel.load(folder)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (LOOPS, "took more than 1 s of processor time"),
        ("{{ '%1000000000d'|format(1) }}", ""),
        ("{{ 'a'*10**10 }}", "needed more than 512 MiB of memory"),
        ("{{ 'x'|center(3*10**9) }}", "needed more than 512 MiB of memory"),
        ("{{ ('a'*100000).replace('a','b'*100000) }}", "needed more than 512 MiB of memory"),
        ("{{ [1]|batch(10**9, 0)|list }}", ""),
        (DOUBLING, "needed more than 512 MiB of memory"),
    ],
)
def test_a_template_that_burns_time_or_memory_is_refused_in_words(folder, source, words):
    with with_template(folder, LLAMA3 + source) as model, pytest.raises(Refused) as refused:
        model.pre_query()
    assert words in str(refused.value)
    assert "the tokenizer or chat template " in str(refused.value)
    assert str(refused.value).endswith("use a model whose files are sound")


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in [1] %}" * 25 + "{% endfor %}" * 25,
        "{% if 1 %}" * 150 + "{% endif %}" * 150,
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "{% for m in messages %}{{ m.content ~ 1e999 }}{% endfor %}",
        "{{ 9" + "9" * 5000 + " }}",
        "{{ messages | groupby('role') | first | first | attr('x') }}" + "{{ messages[0].no.such }}",
        "{{ -1 ** 0.5 | round(-1e9 | int) }}{{ 1 // 0 }}",
    ],
)
def test_whatever_a_template_raises_it_is_the_template_that_is_told(source):
    with pytest.raises(UnfitTemplateError) as refused:
        ChatTemplate(source, {}).render([Message("user", "hello")] * 2000, True)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    ("replacements", "error", "words"),
    [
        ([({"Regex": "(a+)+$"}, "x")], UnencodableError, "the model's tokenizer fails on it (PanicException)"),
        ([({"String": "a"}, "a" * 1000)] * 4, Refused, "may have needed more than 512 MiB of memory"),
    ],
)
def test_a_tokenizer_that_panics_or_takes_its_process_down_is_told(folder, replacements, error, words):
    with with_normalizer(folder, *replacements) as model:
        with pytest.raises(error) as refused:
            model.sample([Message("user", "a" * 40 + "b"), Message("assistant", "b")])
        assert words in str(refused.value)
        assert model.decode([1])  # the next question is answered


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("tokenizer.json", "[" * 200_000),
        ("tokenizer.json", '{"model": ' * 500),
        ("tokenizer.json", '{"added_tokens": [1e999]}'),
        ("tokenizer.json", '{"added_tokens": [7], "model": 7}'),
        ("tokenizer_config.json", '{"chat_template": [[]], "added_tokens_decoder": 7, "bos_token": []}'),
        ("tokenizer_config.json", "9" * 5000),
        ("special_tokens_map.json", '{"additional_special_tokens": {"a": [[]]}, "eos_token": "\\ud83d"}'),
    ],
)
def test_files_of_any_shape_are_refused_by_name(folder, file, content):
    (folder / file).write_text(content)
    with pytest.raises(Refused, match=str(folder)):
        ChatModel.load(folder)


def test_a_model_answers_as_its_files_do(folder, tokenizers):
    plain = tokenizers["llama3"]
    messages = [Message("user", "hello <|eot_id|>"), Message("assistant", "hello there")]
    with ChatModel.load(folder) as model:
        assert model.sample(messages) == tokenise_sample(plain, messages)
        assert model.control_ids == plain.control_ids
        assert "<|eot_id|>" in model.control_texts
        pre_query = model.pre_query()
        assert model.instruction(pre_query, plain.encode_content("hello")) == "hello"
        assert len(model.rating_place().rating_ids) == 5
        assert model.decode(model.prompt(messages[:1])).endswith("<|start_header_id|>assistant<|end_header_id|>\n\n")
        with pytest.raises(UnencodableError, match="surrogate"):
            model.prompt([Message("user", "\ud83d")])


def test_the_cost_of_a_conversation_grows_with_its_length_and_no_faster(tokenizer):
    def seconds(turns):
        messages = [Message("assistant" if i % 2 else "user", "ok") for i in range(turns)]
        taken = []
        for _ in range(3):
            started = time.process_time()
            tokenise_sample(tokenizer, messages)
            taken.append(time.process_time() - started)
        return min(taken)

    assert seconds(2000) < 30 * seconds(200)  # the square would be 100


def test_turns_without_an_end_are_refused_before_they_are_encoded_as_one_text(tmp_path):
    endless = INST.replace("OPEN_END", "' [/INST]'").replace(" + eos_token", "")
    tokenizer = dataclasses.replace(mistral_in_text(), template=endless).load(tmp_path)
    talk = [Message("user", "hello " * 20), Message("assistant", "hello " * 20)] * 500
    started = time.process_time()
    with pytest.raises(UnencodableError, match="no end-of-turn token"):
        tokenise_sample(tokenizer, talk)
    assert time.process_time() - started < 1


def test_a_template_that_numbers_many_turns_is_refused_for_them(tmp_path):
    numbered = dataclasses.replace(llama3(), template=LLAMA3.replace("{{ m.role }}", "{{ m.role ~ loop.index }}"))
    tokenizer = numbered.load(tmp_path)
    talk = [Message("user", "ok"), Message("assistant", "ok")]
    assert len(tokenise_sample(tokenizer, talk * 10).spans) == 10
    started = time.process_time()
    with pytest.raises(UnencodableError, match="opens more than 100 answers in ways of their own"):
        tokenise_sample(tokenizer, talk * 1500)
    assert time.process_time() - started < 3
