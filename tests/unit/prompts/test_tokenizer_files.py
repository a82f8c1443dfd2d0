"""A model folder's tokenizer files: where the template may stand, and what is refused."""

import json

import pytest

from rehearsal.api.messages import Refused
from rehearsal.prompts.chat import ChatTokenizer
from rehearsal.prompts.template import ChatTemplate, Message, UnfitTemplateError
from tests.unit.prompts.model_families import LLAMA3, llama3

HELLO = [Message("user", "hello <b> & 'x'")]


@pytest.fixture
def folder(tmp_path):
    return llama3().save(tmp_path / "model")


def rewrite(folder, **fields):
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def test_a_template_file_goes_before_the_configurations(folder):
    rewrite(folder, chat_template="{{ 'old' }}")
    (folder / "chat_template.jinja").write_text(LLAMA3)
    assert ChatTokenizer.load(folder).template.render(HELLO, False).startswith("<|begin_of_text|>")


def test_of_several_templates_the_default_is_taken(folder):
    rewrite(folder, chat_template=[{"name": "tool_use", "template": "no"}, {"name": "default", "template": "{{ eos_token }}"}])
    assert ChatTokenizer.load(folder).template.render(HELLO, False) == "<|eot_id|>"


def test_special_tokens_come_from_their_own_file_when_the_configuration_lacks_them(folder):
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({"chat_template": LLAMA3}))
    (folder / "special_tokens_map.json").write_text(json.dumps({"bos_token": {"content": "<|begin_of_text|>"}}))
    assert ChatTokenizer.load(folder).template.render(HELLO, False).startswith("<|begin_of_text|>")


def test_a_post_processor_adds_nothing_to_content(folder):
    core = json.loads((folder / "tokenizer.json").read_text())
    begin = next(token["id"] for token in core["added_tokens"] if token["content"] == "<|begin_of_text|>")
    core["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|begin_of_text|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<|begin_of_text|>": {"id": "<|begin_of_text|>", "ids": [begin], "tokens": ["<|begin_of_text|>"]}},
    }
    core["truncation"] = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    (folder / "tokenizer.json").write_text(json.dumps(core))
    tokenizer = ChatTokenizer.load(folder)
    assert tokenizer.decode(tokenizer.encode_content("hello there, my friend")) == "hello there, my friend"


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("tokenizer.json", None, "tokenizer.json: not there: save the model's fast tokenizer"),
        ("tokenizer_config.json", None, "tokenizer_config.json: not there: copy it"),
        ("tokenizer.json", "{", "tokenizer.json: cannot be read as JSON"),
        ("tokenizer.json", "[]", "tokenizer.json: holds a list, not a JSON object"),
        ("tokenizer.json", '{"version": "1.0"}', "tokenizer.json: not a tokenizer"),
        ("tokenizer_config.json", "{}", "has no chat_template, and there is no chat_template.jinja beside it"),
        ("chat_template.jinja", "{% if %}", "the chat template is not valid jinja2"),
        ("special_tokens_map.json", "]", "special_tokens_map.json: cannot be read as JSON"),
    ],
)
def test_a_file_that_is_missing_or_broken_is_named_with_what_to_do(folder, file, content, words):
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(content)
    with pytest.raises(Refused) as refused:
        ChatTokenizer.load(folder)
    assert words in str(refused.value)
    assert str(folder) in str(refused.value)
    assert "\n" not in str(refused.value)


def render(source: str) -> str:
    return ChatTemplate(source, {"bos_token": "<s>"}).render(HELLO, True)


def test_the_clock_stands_still():
    assert render("{{ strftime_now('%d %b %Y') }}") == "26 Jul 2024"


def test_a_template_is_rendered_as_transformers_does():
    assert (
        render("{% for m in messages %}\n  {% if loop.first %}\n{{ m.content }}{% break %}{% endif %}{% endfor %}")
        == HELLO[0].content
    )
    assert render("{{ messages | tojson }}") == json.dumps([{"role": "user", "content": HELLO[0].content}])
    assert render("{% generation %}{{ bos_token }}{% endgeneration %}{{ tools is none }}{{ documents is none }}") == "<s>TrueTrue"


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ raise_exception.__globals__ }}",
        "{{ raise_exception.__globals__['json'] }}",
        "{{ '{0.__class__.__mro__}'.format(messages) }}",
        "{{ range(2 * 10**5) | list }}",
        "{% include '/etc/hostname' %}",
    ],
)
def test_a_template_that_reaches_out_of_its_sandbox_gets_nothing(source):
    try:
        got = render(source)
    except UnfitTemplateError as error:
        got = str(error).partition("the chat template refuses the roles user:")[0]
    assert got == ""
