import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from email.utils import formatdate

import pytest

from rehearsal.api.messages import Refused, StageError, Unavailable, Usage
from rehearsal.inference.chat import Chat, ChatRequest, Said, Served
from rehearsal.inference.control_strings import WELL_KNOWN, ControlStrings
from rehearsal.inference.endpoint import Endpoint, Tolerance, connect_endpoint
from tests.unit.inference.chat_server import CANARY, MODEL, QUICK, ChatServer

ASKED = ChatRequest([{"role": "user", "content": "hello"}], max_tokens=9, n=2, temperature=0.7, top_p=0.9, seed=5)
ANSWER = Chat((Said("HELLO", "stop"),) * 2, Usage(prompt_tokens=3, completion_tokens=4))


def itself(served: Served) -> Served:
    return served


@asynccontextmanager
async def asking(server: ChatServer, tolerance: Tolerance = QUICK, pin=itself, key: str | None = None) -> AsyncIterator[Endpoint]:
    await server.start()
    try:
        async with connect_endpoint("openai", server.url, MODEL, key, pin, tolerance) as endpoint:
            yield endpoint
    finally:
        await server.stop()


async def failure(server: ChatServer, request: ChatRequest = ASKED, **how) -> StageError:
    async with asking(server, **how) as endpoint:
        with pytest.raises(StageError) as caught:
            await endpoint.chat(request)
    return caught.value


async def test_a_service_is_asked_for_texts_and_its_tokens_are_counted():
    server = ChatServer(key="sk-right")
    async with asking(server, key="sk-right") as endpoint:
        assert await endpoint.chat(ASKED) == ANSWER
    sampling = {"n": 2, "max_tokens": 9, "temperature": 0.7, "top_p": 0.9, "seed": 5}
    assert server.requests == [{"model": MODEL, "messages": [{"role": "user", "content": "hello"}], **sampling}]


@pytest.mark.parametrize("fault", [500, 503, 429, 408, "disconnect", "garbage"])
async def test_what_a_service_leaves_unanswered_is_asked_again(fault: int | str):
    async with asking(ChatServer(fault, fault)) as endpoint:
        assert await endpoint.chat(ASKED) == ANSWER


async def test_a_proxy_that_the_environment_names_is_not_asked_and_its_credentials_are_not_sent(monkeypatch, tmp_path):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with asking(ChatServer()) as endpoint:
        assert await endpoint.chat(ASKED) == ANSWER


async def test_what_the_library_says_of_a_failure_is_not_passed_on(capfd):
    told = await failure(ChatServer(*["nonsense"] * 99), tolerance=replace(QUICK, give_up=0.05))
    assert isinstance(told, Unavailable)
    assert CANARY not in f"{told!r}{told.__cause__!r}{capfd.readouterr()}"


async def test_a_request_that_hangs_is_asked_again():
    async with asking(ChatServer("hang"), replace(QUICK, request=0.5)) as endpoint:
        assert await endpoint.chat(ASKED) == ANSWER


def a_date_in(seconds: int) -> str:
    return formatdate(time.time() + seconds + 1, usegmt=True)


@pytest.mark.parametrize("form", [str, a_date_in])
async def test_a_service_that_asks_for_patience_is_given_it_by_every_request(form):
    begun = time.monotonic()
    async with asking(ChatServer(429, headers={"Retry-After": form(1)}), Tolerance(first_pause=0.01)) as endpoint:
        assert await endpoint.chat(ASKED) == ANSWER
        assert time.monotonic() - begun >= 0.9


@pytest.mark.fault(51)
async def test_a_service_that_stays_away_is_named():
    error = await failure(ChatServer(*[503] * 1000), tolerance=replace(QUICK, give_up=1))
    assert isinstance(error, Unavailable)
    assert "endpoint openai left a request unanswered" in str(error)


async def test_nobody_waits_longer_than_the_stage_may():
    error = await failure(ChatServer(429, headers={"Retry-After": "86400"}), tolerance=Tolerance(give_up=10))
    assert isinstance(error, Unavailable)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed(status: int):
    server = ChatServer(status)
    error = await failure(server, key="sk-secret")
    assert (error.code, error.reason) == (64, "EndpointRedirects")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("step", "reason"),
    [(401, "EndpointKey"), (403, "EndpointKey"), (404, "WrongModel"), ((400, "unknown_parameter"), "RequestRefused")],
)
async def test_what_asking_again_would_not_mend_is_refused_and_quotes_nothing(step, reason: str, capsys):
    error = await failure(ChatServer(step), key="sk-secret")
    assert isinstance(error, Refused)
    assert error.reason == reason
    told = str(error) + capsys.readouterr().err
    assert "sk-secret" not in told
    assert "your prompt said" not in told


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("content_filter", "content-filter"),
        ("content_policy_violation", "content-filter"),
        ("context_length_exceeded", "too-long"),
    ],
)
async def test_a_row_that_the_service_declines_has_no_text_and_a_reason(code: str, why: str):
    async with asking(ChatServer((400, code))) as endpoint:
        assert await endpoint.chat(ASKED) == Chat((), Usage(), why)
        assert await endpoint.chat(ASKED) == ANSWER


async def test_a_text_that_a_filter_withheld_is_no_whole_one():
    server = ChatServer()
    server.finish = "content_filter"
    async with asking(server) as endpoint:
        assert set((await endpoint.chat(ASKED)).choices) == {Said("", "content-filter")}


async def test_a_service_that_gives_one_text_at_a_time_is_asked_for_the_rest():
    server = ChatServer()
    server.at_most = 1
    async with asking(server) as endpoint:
        assert await endpoint.chat(ASKED) == Chat(ANSWER.choices, Usage(prompt_tokens=6, completion_tokens=4))
    assert [(body["n"], body["seed"]) for body in server.requests] == [(2, 5), (1, 6)]


@pytest.mark.fault(54)
async def test_another_model_than_the_one_asked_for_is_refused():
    server = ChatServer()
    server.model = "gpt-3.5-turbo"
    error = await failure(server)
    assert (error.code, error.reason) == (64, "WrongModel")


async def test_a_name_that_stands_for_a_dated_model_is_taken():
    server = ChatServer()
    server.model = f"{MODEL}-2026-11-01"
    async with asking(server) as endpoint:
        assert await endpoint.chat(ASKED) == ANSWER


@pytest.mark.fault(54)
@pytest.mark.parametrize("change", [{"model": f"{MODEL}-2"}, {"fingerprint": "fp_2"}])
async def test_a_service_that_changes_in_mid_stage_stops_it(change: dict[str, str]):
    server, first = ChatServer(), []

    def pin(served: Served) -> Served:
        first.append(served)
        return first[0]

    async with asking(server, pin=pin) as endpoint:
        await endpoint.chat(ASKED)
        vars(server).update(change)
        with pytest.raises(Refused, match="changed in mid-stage") as caught:
            await endpoint.chat(ASKED)
    assert caught.value.reason == "EndpointDrifted"
    assert "spec.rerun" in str(caught.value)


@pytest.mark.fault(67)
def test_control_strings_are_found_whole_and_ordinary_text_is_not():
    known = ControlStrings(["<own>", " ", ""])
    assert all(known.within("a", f"before{text}after") for text in (*WELL_KNOWN, "<own>"))
    assert not known.within("if a < b and c > d: [INSTANCE] <|", "", "Human: hello")
