"""Whatever a server answers, its client reads an answer or says that it cannot."""

import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rehearsal.inference.body import UnreadableAnswerError
from rehearsal.inference.chat import ChatRequest, parse_chat
from rehearsal.inference.completion import CompletionRequest, parse_completion
from rehearsal.outside.json_text import read_json
from tests.unit.inference.chat_server import MODEL, ChatServer
from tests.unit.inference.test_endpoint import ANSWER, ASKED, asking

REQUEST = CompletionRequest((1,), max_tokens=1, rating_ids=(1, 2, 3, 4, 5))
CHAT = {"model": MODEL, "choices": [{"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}], "usage": {}}
LOGPROBS = {"top_logprobs": [{"token_id:1": -0.5}]}
COMPLETION = {
    "choices": [{"index": 0, "finish_reason": "stop", "token_ids": [1, 2], "logprobs": LOGPROBS}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1},
}
ODD = [float("inf"), float("nan"), 10**60, -1, 1.5, True, "7", None, [], {}, [[]], "\ud83d"]


def replaced(value: object, new: object) -> list[object]:
    """Every copy of a value in which one leaf or branch is another thing."""
    if isinstance(value, dict):
        return [new, *(value | {key: other} for key in value for other in replaced(value[key], new))]
    if isinstance(value, list):
        return [new, *([*value[:i], other, *value[i + 1 :]] for i in range(len(value)) for other in replaced(value[i], new))]
    return [new]


@pytest.mark.parametrize("new", ODD, ids=repr)
def test_an_odd_thing_anywhere_in_an_answer_is_read_or_unreadable(new: object):
    for body in replaced(CHAT, new):
        try:
            chat, served = parse_chat(body)
        except UnreadableAnswerError:
            continue
        (json.dumps([chat.usage.wire(), served.model]) + "".join(said.text + said.finish for said in chat.choices)).encode()
    for body in replaced(COMPLETION, new):
        try:
            completion = parse_completion(REQUEST, body)
        except UnreadableAnswerError:
            continue
        assert all(0 <= id_ < 2**31 for choice in completion.choices for id_ in choice.ids)
        assert completion.usage.prompt_tokens < 2**53


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from([*CHAT, *COMPLETION["choices"][0]]), inner),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None)
@given(_JSON)
def test_any_json_is_read_or_unreadable(body: object):
    for parse in (parse_chat, lambda body: parse_completion(REQUEST, body)):
        with suppress(UnreadableAnswerError):
            parse(body)


def test_a_text_that_was_cut_inside_a_character_is_kept_without_its_half():
    body = read_json(json.dumps(CHAT).replace('"hi"', '"hi \\ud83d"').encode(), halves=True)
    assert parse_chat(body)[0].choices[0].text == "hi \ufffd"


@pytest.mark.parametrize(
    "body", [b"[" * 200_000, b'{"usage": {"prompt_tokens": 1e999}}', b"9" * 5000, b'{"usage": NaN}', b"\xff", b'{"choices": [[]]}', b""]
)  # fmt: skip
async def test_a_body_of_any_kind_is_asked_for_again(body: bytes):
    async with asking(ChatServer(body, body)) as endpoint:
        assert await endpoint.chat(ASKED) == ANSWER


async def test_a_model_that_calls_itself_a_control_character_is_told_in_print():
    server = ChatServer()
    server.model = f"{MODEL}\x1b[2J"
    async with asking(server) as endpoint:
        with pytest.raises(Exception, match=r"\\x1b\[2J"):
            await endpoint.chat(ChatRequest(ASKED.messages, 9))
