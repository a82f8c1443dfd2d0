import asyncio
from dataclasses import replace

import pytest

from rehearsal.api.messages import DeviceUnusable, Refused, Usage
from rehearsal.inference.client import Patience, RequestRefusedError, connect
from rehearsal.inference.completion import NEUTRAL, Choice, Completion, CompletionRequest, UnreadableAnswerError, parse_completion
from tests.unit.inference.fake_engine import LENGTH, MODEL, QUICK, FakeEngine, running

ASKED = CompletionRequest(prompt=(1, 2, 3), max_tokens=4, n=2, stop_ids=(9,), ignore_eos=True, temperature=0.7, top_p=0.9, seed=5)
ANSWER = Completion((Choice((3,), 9, "stop"),) * 2, Usage(prompt_tokens=3, completion_tokens=4))


async def ask(engine: FakeEngine, request: CompletionRequest = ASKED, patience: Patience = QUICK) -> Completion:
    """Ask once the canary, which the script leaves alone, is through."""
    script, engine.script = engine.script, type(engine.script)()
    async with connect(engine.url, MODEL, LENGTH, patience) as client:
        engine.script = script
        engine.requests.clear()
        return await client.complete(request)


async def test_an_answer_comes_without_the_token_that_ended_it_and_in_the_order_of_its_choices():
    async with running(FakeEngine()) as engine:
        assert await ask(engine) == ANSWER


@pytest.mark.parametrize("fault", ["disconnect", 500, 503, 429, "unfinished", b"[" * 200_000])
async def test_what_a_server_leaves_unanswered_is_repeated(fault: str | int | bytes):
    async with running(FakeEngine(fault, "ok", fault)) as engine:
        assert await ask(engine) == ANSWER
        assert [body["n"] for body in engine.requests] == [2, 1, 2, 1, 2]
        assert all(body == ASKED.wire(MODEL) for body in engine.requests if body["n"] == 2)


async def test_a_request_that_takes_too_long_is_repeated_while_a_canary_answers():
    async with running(FakeEngine("hang")) as engine:
        assert await ask(engine, patience=replace(QUICK, request=2)) == ANSWER
        assert [body["n"] for body in engine.requests] == [2, 1, 2]


@pytest.mark.fault(53)
async def test_a_server_that_dies_and_comes_back_is_waited_for():
    async with running(FakeEngine()) as engine, connect(engine.url, MODEL, LENGTH, QUICK) as client:
        await engine.stop()
        asked = asyncio.create_task(client.complete(ASKED))
        await asyncio.sleep(0.1)
        assert not asked.done()
        engine.requests.clear()
        await engine.start()
        assert await asked == ANSWER
        assert [body["n"] for body in engine.requests] == [1, 2], "a canary comes first"


@pytest.mark.fault(53)
async def test_many_requests_that_fail_together_share_one_canary():
    async with running(FakeEngine()) as engine, connect(engine.url, MODEL, LENGTH, QUICK) as client:
        engine.requests.clear()
        engine.script.extend([asyncio.Barrier(20)] * 20)
        assert await asyncio.gather(*(client.complete(ASKED) for _ in range(20))) == [ANSWER] * 20
        assert sum(body["n"] == 1 for body in engine.requests) < 5


@pytest.mark.fault(53)
async def test_a_request_that_kills_its_server_every_time_ends_the_program():
    async with running(FakeEngine(*["disconnect", "ok"] * 1000)) as engine:
        with pytest.raises(DeviceUnusable, match="unanswered") as caught:
            await ask(engine, patience=replace(QUICK, repeat=2))
    assert caught.value.reason == "EngineGone"


@pytest.mark.fault(52)
async def test_a_server_that_is_healthy_and_completes_nothing_is_found_out_at_the_start():
    async with running(FakeEngine(*["hang"] * 10)) as engine:
        with pytest.raises(DeviceUnusable, match="did not complete one token") as caught:
            async with connect(engine.url, MODEL, LENGTH, replace(QUICK, canary=0.5)):
                pass
    assert caught.value.reason == "EngineHangs"


@pytest.mark.fault(52)
async def test_a_server_that_begins_to_hang_is_found_out_by_a_second_canary():
    async with running(FakeEngine(*["hang"] * 10)) as engine:
        with pytest.raises(DeviceUnusable) as caught:
            await ask(engine, patience=replace(QUICK, request=0.2, canary=2))
    assert caught.value.reason == "EngineHangs"


async def test_a_server_that_never_becomes_healthy_is_given_up():
    async with running(FakeEngine()) as engine:
        engine.healthy = False
        with pytest.raises(DeviceUnusable, match="no healthy engine"):
            await ask(engine, patience=replace(QUICK, start=0.2))


@pytest.mark.fault(54)
async def test_a_server_of_another_model_is_refused_by_both_names():
    async with running(FakeEngine(model="someone-elses")) as engine:
        with pytest.raises(Refused, match=f"serves someone-elses, not {MODEL}"):
            await ask(engine)


async def test_a_server_of_another_length_is_refused():
    async with running(FakeEngine()) as engine:
        with pytest.raises(Refused, match=f"serves {LENGTH} tokens, the run asks for maxModelLen 1024"):
            async with connect(engine.url, MODEL, 1024, QUICK):
                pass


async def test_a_request_that_is_wrong_is_not_repeated():
    async with running(FakeEngine(400)) as engine:
        with pytest.raises(RequestRefusedError, match="HTTP 400"):
            await ask(engine)
        assert len(engine.requests) == 1


def test_a_model_s_own_generation_config_bends_nothing():
    body = ASKED.wire(MODEL)
    assert body.items() >= {**NEUTRAL, "temperature": 0.7, "top_p": 0.9, "ignore_eos": True, "stop_token_ids": [9]}.items()
    assert "logprobs" not in body


def test_rating_tokens_are_asked_for_by_id_and_read_by_id():
    request = CompletionRequest(prompt=(1,), max_tokens=1, rating_ids=(5, 6))
    assert request.wire(MODEL).items() >= {"logprobs": 2, "logprob_token_ids": [5, 6], "return_tokens_as_token_ids": True}.items()
    top = {"token_id:8": -0.1, "token_id:5": -1.5, "token_id:6": None}
    choice = {"index": 0, "finish_reason": "length", "token_ids": [8], "logprobs": {"top_logprobs": [top]}}
    answer = parse_completion(request, {"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})
    assert answer.choices[0].logprobs == {8: -0.1, 5: -1.5, 6: None}


@pytest.mark.parametrize("body", [None, [], {}, {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 0}}])
def test_an_answer_that_is_none_is_unreadable(body: object):
    with pytest.raises(UnreadableAnswerError):
        parse_completion(ASKED, body)


def test_patience_grows_with_the_answer_and_pauses_grow_to_a_bound():
    patience = Patience(request=100, token=0.5, first_pause=1, longest_pause=8)
    assert patience.of_answer(200) == 200
    assert 0.5 <= patience.pause(0) <= 1
    assert all(4 <= patience.pause(failures) <= 8 for failures in (3, 4, 10_000))
