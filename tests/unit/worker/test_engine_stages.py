"""The engine's stages against a server that plays the engine; `tests/stages` has the real one."""

import asyncio
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from rehearsal.api.run import RunSpec
from rehearsal.pipeline.fingerprint import served_model_name
from rehearsal.pipeline.reconstruction import round_rows
from rehearsal.prompts.chat import ChatTokenizer
from rehearsal.prompts.ratings import rating_place
from rehearsal.prompts.turns import assistant_end_ids
from rehearsal.store.folder import FolderStore
from rehearsal.worker import elicit, judge, respond, select
from rehearsal.worker import filter as filter_stage
from rehearsal.worker.context import Context
from rehearsal.worker.sampled_stage import row_seed
from tests.unit.inference.fake_engine import Body, FakeEngine, one_token
from tests.unit.worker.models_in_store import a_context, a_spec, a_store, put_model, talking_model

LOG_PROB: dict[str, Any] = {"mode": "LogProb", "rubric": "Score the response from 1 to 5.", "pruning": "None"}


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    store = a_store(tmp_path / "store")
    for path in ("base", "peer"):
        # Equal models would be one member twice: their stages would have the same fingerprints.
        put_model(store, path, talking_model(tmp_path / "files") | {"model.safetensors": path.encode()})
    return store


@contextmanager
def serving(engine: FakeEngine, context: Context, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    """Serve the stage's model beside the test, in a thread of its own: a stage program has an event loop of its own."""
    engine.model = served_model_name(context.stage, context.task.inputs, context.fingerprints)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(engine.start(), loop).result(60)
        monkeypatch.setenv("ENGINE_PORT", str(engine.port))
        yield engine
        asyncio.run_coroutine_threadsafe(engine.stop(), loop).result(60)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def stage(tmp_path: Path, store: FolderStore):
    def made(spec: RunSpec, name: str) -> Context:
        context = a_context(tmp_path, spec, name, store)
        talking_model(context.model_dir)
        return context

    return made


def tokenizer_of(context: Context) -> ChatTokenizer:
    return ChatTokenizer.load(context.model_dir)


def asked(engine: FakeEngine) -> list[Body]:
    """What was asked after the canary."""
    return engine.requests[1:]


def says(*choices: tuple[str, bool], tokenizer: ChatTokenizer, end: int):
    """An engine that gives these (text, ended) choices to every request."""

    def answer(body: Body) -> Body:
        made = []
        for index in range(body["n"]):
            text, ended = choices[index % len(choices)]
            ids = [*tokenizer.encode_content(text), *([end] if ended else [])]
            made.append({"index": index, "token_ids": ids, "finish_reason": "stop" if ended else "length", "logprobs": None})
        return {"choices": made, "usage": {"prompt_tokens": 1, "completion_tokens": 1}}

    return answer


def by_turns(turns: Iterator[tuple[str, bool]], tokenizer: ChatTokenizer, end: int):
    """An engine that gives the next of these (text, ended) to every request after the canary."""
    seen = count()

    def answer(body: Body) -> Body:
        return says(next(turns), tokenizer=tokenizer, end=end)(body) if next(seen) else one_token(body)

    return answer


def seal(context: Context, stage: str, rows: list[dict[str, Any]]) -> None:
    artifact = context.artifact(stage)
    artifact.commit_shard(0, rows[:4])
    artifact.commit_shard(1, rows[4:])
    artifact.seal(2)


INSTRUCTIONS = [{"id": f"i{n}", "source": f"1-{n}", "text": f"What is {n}?"} for n in range(6)]


def test_elicitation_asks_for_the_end_of_a_user_turn_and_nothing_else(stage, monkeypatch):
    context = stage(a_spec(count=6), "elicit")
    tokenizer = tokenizer_of(context)
    (end,) = tokenizer.encode_template("<|eot_id|>")[0][:1]
    answer = says(("What is it?", True), tokenizer=tokenizer, end=end)
    with serving(FakeEngine(answer=answer), context, monkeypatch) as engine:
        outcome = elicit.run(context)
    rows = list(context.output.rows())
    assert [row["id"] for row in rows] == [f"1-{index:07d}" for index in range(round_rows(6, 1))]
    assert {(row["text"], row["finish"], end in row["ids"]) for row in rows} == {("What is it?", "stop", False)}
    assert outcome.manifest == context.output.manifest()
    assert outcome.usage.completion_tokens == len(rows)
    bodies = asked(engine)
    assert {tuple(body["stop_token_ids"]) for body in bodies} == {(end,)}
    assert all(body["ignore_eos"] and body["max_tokens"] == 32 and body["temperature"] == 1.0 for body in bodies)
    assert {body["seed"] for body in bodies} == {row_seed(context.output.fingerprint, index) for index in range(len(rows))}
    assert all(tokenizer.decode(body["prompt"]).endswith("<|start_header_id|>user<|end_header_id|>\n\n") for body in bodies)


def test_an_instruction_that_was_cut_is_kept_and_marked(stage, monkeypatch):
    context = stage(a_spec(), "elicit")
    with serving(FakeEngine(answer=says(("What is", False), tokenizer=tokenizer_of(context), end=0)), context, monkeypatch):
        elicit.run(context)
    assert {(row["text"], row["finish"]) for row in context.output.rows()} == {("What is", "length")}


@pytest.mark.fault(65)
def test_a_sealed_stage_is_found_without_an_engine_or_a_model(stage, tmp_path, store, monkeypatch):
    context = stage(a_spec(), "elicit")
    with serving(FakeEngine(), context, monkeypatch):
        sealed = elicit.run(context).manifest
    monkeypatch.delenv("ENGINE_PORT")
    again = a_context(tmp_path / "another pod", a_spec(), "elicit", store)
    assert elicit.run(again).manifest == sealed
    (store.root / again.output.layout.manifest).unlink()
    talking_model(again.model_dir)
    assert elicit.run(again).manifest == sealed, "all shards are committed: only the seal is missing"


def test_a_member_gives_its_answers_to_every_instruction_in_order(stage, monkeypatch):
    context = stage(a_spec(), "respond-peer")
    seal(context, "filter", INSTRUCTIONS)
    tokenizer = tokenizer_of(context)
    (end,) = assistant_end_ids(tokenizer)
    answer = says(("One.", True), ("Two", False), ("Three.", True), tokenizer=tokenizer, end=end)
    with serving(FakeEngine(answer=answer), context, monkeypatch) as engine:
        respond.run(context)
    rows = list(context.output.rows())
    assert [row["id"] for row in rows] == [row["id"] for row in INSTRUCTIONS]
    answers = [("One.", "stop"), ("Two", "length"), ("Three.", "stop")]
    assert all([(given["text"], given["finish"]) for given in row["answers"]] == answers for row in rows)
    assert all(body["n"] == 3 and body["temperature"] == 0.7 and body["top_p"] == 0.9 for body in asked(engine))
    assert {tokenizer.decode(body["prompt"]) for body in asked(engine)} == {
        f"<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{row['text']}<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
        for row in INSTRUCTIONS
    }


def test_rounds_go_from_elicitation_to_answers_until_count_conversations_are_whole(stage, monkeypatch):
    """Two of five answers are cut off: of the first round's 24 conversations 14 are whole, and one of the second's is needed."""
    made = a_spec(count=15).wire()["rehearsal"]["reconstructed"]
    made |= {"count": 15, "committee": {"members": [{"name": "base", "base": True}], "responsesPerMember": 1}}
    spec = RunSpec.model_validate(a_spec().wire() | {"rehearsal": {"reconstructed": made}})
    assert [round_rows(15, round_) for round_ in (1, 2)] == [24, 12]
    programs = {"elicit": elicit, "filter": filter_stage, "respond-base": respond, "elicit2": elicit, "filter2": filter_stage}
    for name, program in (programs | {"respond2-base": respond}).items():
        context = stage(spec, name)
        context.scratch.mkdir(parents=True, exist_ok=True)
        tokenizer = tokenizer_of(context)
        (end,) = assistant_end_ids(tokenizer)
        turns = (("Well.", program is elicit or number % 5 > 1) for number in count())
        with serving(FakeEngine(answer=by_turns(turns, tokenizer, end)), context, monkeypatch):
            assert program.run(context).manifest
    context = stage(spec, "select")
    context.scratch.mkdir(parents=True)
    assert select.run(context).another_round == 2
    context.task = context.task.model_copy(update={"rounds": 2})
    assert select.run(context).manifest
    assert [row["id"][0] for row in context.output.rows()] == ["1"] * 14 + ["2"]


def test_an_instruction_without_room_or_that_cannot_be_encoded_has_no_answers(stage, monkeypatch):
    context = stage(a_spec(), "respond-base")
    texts = {"i1": "long " * 600, "i2": "\ud800"}
    seal(context, "filter", [row | {"text": texts.get(row["id"], row["text"])} for row in INSTRUCTIONS])
    with serving(FakeEngine(), context, monkeypatch) as engine:
        respond.run(context)
    assert [len(row["answers"]) for row in context.output.rows()] == [3, 0, 0, 3, 3, 3]
    assert len(asked(engine)) == 4


def test_an_answer_with_a_control_token_inside_is_not_a_whole_one(stage, monkeypatch):
    context = stage(a_spec(), "respond-base")
    seal(context, "filter", INSTRUCTIONS)
    control = min(tokenizer_of(context).control_ids)

    def answer(body: Body) -> Body:
        made = one_token(body)
        for choice in made["choices"]:
            choice["token_ids"] = [5, control, 6, *body["stop_token_ids"][:1]]
        return made

    with serving(FakeEngine(answer=answer), context, monkeypatch):
        respond.run(context)
    assert {given["finish"] for row in context.output.rows() for given in row["answers"]} == {"control-token"}


def test_greedy_answers_are_drawn_once(stage, monkeypatch):
    spec = a_spec()
    spec = RunSpec.model_validate_json(spec.model_dump_json(by_alias=True).replace('"temperature":0.7', '"temperature":0.0'))
    context = stage(spec, "respond-base")
    seal(context, "filter", INSTRUCTIONS)
    with serving(FakeEngine(), context, monkeypatch) as engine:
        respond.run(context)
    assert all(len(row["answers"]) == 3 for row in context.output.rows())
    assert {body["n"] for body in asked(engine)} == {1}


def answered(*texts: str) -> list[dict[str, Any]]:
    return [{"text": text, "ids": [1, 2], "finish": "stop"} for text in texts]


def give_answers(context: Context, base: list[dict[str, Any]], peer: list[dict[str, Any]]) -> None:
    seal(context, "filter", INSTRUCTIONS)
    for stage_, answers in {"respond-base": base, "respond-peer": peer}.items():
        seal(context, stage_, [{"id": row["id"], "answers": answers} for row in INSTRUCTIONS])


def rates(tokenizer: ChatTokenizer, ratings: dict[str, int]):
    """An engine that is nearly sure of a rating, by a word in the prompt."""
    ids = rating_place(tokenizer).rating_ids

    def answer(body: Body) -> Body:
        prompt = tokenizer.decode(body["prompt"])
        rating = next((given for word, given in ratings.items() if word in prompt), 1)
        top = {f"token_id:{id_}": math.log(0.96 if i + 1 == rating else 0.01) for i, id_ in enumerate(ids)}
        choice = {"index": 0, "token_ids": [ids[0]], "finish_reason": "length", "logprobs": {"top_logprobs": [top]}}
        return {"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}

    return answer


def nearly(rating: int) -> float:
    return pytest.approx(0.96 * rating + 0.01 * (15 - rating))


def test_a_judge_scores_what_may_be_chosen_and_asks_once_for_what_reads_the_same(stage, monkeypatch):
    context = stage(a_spec(**LOG_PROB), "judge-base")
    cut = {"text": "Cut", "ids": [1, 2], "finish": "length"}
    give_answers(context, [*answered("good", "poor"), cut], answered("good", "fair", "good"))
    answer = rates(tokenizer_of(context), {"good": 5, "poor": 2, "fair": 4})
    with serving(FakeEngine(answer=answer), context, monkeypatch) as engine:
        judge.run(context)
    rows = list(context.output.rows())
    assert [row["id"] for row in rows] == [row["id"] for row in INSTRUCTIONS]
    assert rows[0]["scores"] == [[nearly(5), nearly(2), None], [nearly(5), nearly(4), nearly(5)]]
    assert rows[0]["pruned"] == []
    assert len(asked(engine)) == 3 * len(INSTRUCTIONS)
    place = rating_place(tokenizer_of(context))
    assert all(tuple(body["logprob_token_ids"]) == place.rating_ids and body["max_tokens"] == 1 for body in asked(engine))
    assert all(tuple(body["prompt"][-len(place.prefix_ids) :]) == place.prefix_ids for body in asked(engine))


def test_a_later_judge_is_spared_what_can_no_longer_win(stage, monkeypatch):
    monkeypatch.setattr("rehearsal.judging.pruning.AUDIT_LEAST", 0)
    context = stage(a_spec(**LOG_PROB | {"pruning": "Lossless"}), "judge-peer")
    give_answers(context, answered("good", "poor", "fine"), answered("poor", "poor", "poor"))
    seal(context, "judge-base", [{"id": row["id"], "scores": [[5, 1, 4.9], [1, 1, 1]], "pruned": []} for row in INSTRUCTIONS])
    with serving(FakeEngine(answer=rates(tokenizer_of(context), {"good": 5, "fine": 4})), context, monkeypatch):
        judge.run(context)
    row = next(row for row in context.output.rows() if row["pruned"])
    assert row["scores"] == [[nearly(5), None, nearly(4)], [None, None, None]]
    assert row["pruned"] == [[0, 1], [1, 0], [1, 1], [1, 2]]


@pytest.mark.fault(49)
def test_a_judge_that_writes_is_read_by_its_last_line_and_abstains_where_it_has_none(stage, monkeypatch):
    context = stage(a_spec(**LOG_PROB | {"mode": "Justify"}), "judge-base")
    give_answers(context, answered("good"), answered("odd"))
    tokenizer = tokenizer_of(context)
    (end,) = assistant_end_ids(tokenizer)

    def answer(body: Body) -> Body:
        text = "Well done.\nScore: 4" if "good" in tokenizer.decode(body["prompt"]) else "Score: 11/10"
        return says((text, True), tokenizer=tokenizer, end=end)(body)

    with serving(FakeEngine(answer=answer), context, monkeypatch) as engine:
        judge.run(context)
    assert [row["scores"] for row in context.output.rows()] == [[[4], [None]]] * 6
    assert all(body["temperature"] == 0 and body["stop_token_ids"] == [end] for body in asked(engine))


def test_a_case_that_does_not_fit_the_judge_is_an_abstention(stage, monkeypatch):
    context = stage(a_spec(**LOG_PROB), "judge-base")
    give_answers(context, answered("long " * 600), answered("\ud800"))
    with serving(FakeEngine(), context, monkeypatch) as engine:
        judge.run(context)
    assert [row["scores"] for row in context.output.rows()] == [[[None], [None]]] * 6
    assert not asked(engine)
