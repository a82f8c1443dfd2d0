import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rehearsal.api.messages import Refused
from rehearsal.api.run import DataFormat
from rehearsal.data.formats import MAX_LINE_BYTES, Conversation, read_conversations

CORPUS = list(map(json.loads, (Path(__file__).parents[2] / "data/poisoned.jsonl").open()))
FILES = [pytest.param(row, id=row["name"], marks=pytest.mark.fault(row["fault"])) for row in CORPUS if row["kind"] == "file"]
TEXTS = [
    pytest.param(row["text"], id=row["name"], marks=pytest.mark.fault(row["fault"])) for row in CORPUS if row["kind"] == "text"
]
TALK = ({"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi."})


@pytest.fixture
def read(tmp_path):
    def of(data, layout=DataFormat.AUTO):
        path = tmp_path / "3f2a.jsonl"
        path.write_bytes(data if isinstance(data, bytes) else b"".join(json.dumps(row).encode() + b"\n" for row in data))
        return list(read_conversations(path, layout, "data/medical.jsonl"))

    return of


@pytest.mark.parametrize(
    "row",
    [
        {"messages": list(TALK)},
        {"prompt": "Hello", "response": "Hi."},
        {"conversations": [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Hi."}]},
        {"conversations": [{"from": "user", "value": "Hello"}, {"from": "assistant", "value": "Hi."}]},
        {"instruction": "Hello", "input": "", "output": "Hi."},
        {"instruction": "Hello", "output": "Hi."},
    ],
)
def test_every_layout_is_told_by_the_first_rows_keys(read, row):
    assert read([row, row]) == [Conversation(1, TALK), Conversation(2, TALK)]


def test_alpacas_input_follows_the_instruction_after_a_blank_line(read):
    (conversation,) = read([{"instruction": "Translate.", "input": "chat", "output": "cat"}])
    assert conversation.messages[0]["content"] == "Translate.\n\nchat"


def test_a_system_turn_and_several_rounds_are_kept(read):
    turns = [{"role": "system", "content": "Be brief."}, *TALK, *TALK]
    assert read([{"messages": turns}])[0].messages == tuple(turns)


def test_a_named_layout_is_held_against_the_first_row_too(read):
    with pytest.raises(Refused, match="line 1: lacks `messages`"):
        read([{"prompt": "Hello", "response": "Hi."}], DataFormat.MESSAGES)


def test_where_a_row_came_from_is_accepted_beside_the_layout(read):
    assert read([{"id": i, "source": "ward 3", "metadata": {"year": 2020}, "prompt": "Hello", "response": "Hi."} for i in (1, 2)])


def test_a_conversation_of_too_many_turns_is_refused_by_line(read):
    assert len(read([{"messages": TALK * 5_000}])[0].messages) == 10_000
    with pytest.raises(Refused, match="line 1: has 10,002 turns; at most 10,000 are read: split the conversation"):
        read([{"messages": TALK * 5_001}])


def test_rows_without_an_id_are_no_twins(read):
    assert len(read([{"id": None, "prompt": "Hello", "response": "Hi."}] * 2)) == 2


@pytest.mark.fault(34)
def test_a_missing_last_line_feed_and_carriage_returns_are_harmless(read):
    row = b'{"prompt": "Hello", "response": "Hi."}'
    assert read(row + b"\r\n" + row) == [Conversation(1, TALK), Conversation(2, TALK)]


@pytest.mark.parametrize("row", FILES)
def test_a_poisoned_file_is_refused_by_line(read, row):
    with pytest.raises(Refused) as refused:
        read(row["bytes"].encode("latin-1"))
    text = str(refused.value)
    assert row["says"] in text
    assert text.startswith("data/medical.jsonl")
    assert "; " in text, "says what to do"
    assert text.isprintable()


@pytest.mark.fault(34)
def test_a_row_nested_without_end_is_refused(read):
    with pytest.raises(Refused, match="line 1: is nested too deeply"):
        read(b'{"prompt":"a","response":"b","metadata":' + b"[" * 200_000)


@pytest.mark.fault(34)
def test_a_line_of_50_mb_is_refused_without_being_read(tmp_path):
    path = tmp_path / "big.jsonl"
    with path.open("wb") as file:
        file.write(b'{"prompt":"a","response":"')
        file.truncate(50 * 2**20)
    tracemalloc.start()
    with pytest.raises(Refused, match="line 1: longer than 8 MiB"):
        next(read_conversations(path, DataFormat.AUTO, "big.jsonl"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * MAX_LINE_BYTES


def test_a_line_at_the_limit_is_read(read):
    frame = len(b'{"prompt":"a","response":""}\n')
    (conversation,) = read(b'{"prompt":"a","response":"' + b"b" * (MAX_LINE_BYTES - frame) + b'"}\n')
    assert len(conversation.messages[1]["content"]) == MAX_LINE_BYTES - frame


def test_the_rows_before_a_bad_one_are_yielded_and_the_error_names_its_line(tmp_path):
    path = tmp_path / "medical.jsonl"
    path.write_text('{"prompt": "a", "response": "b"}\n' * 16 + "oops\n")
    rows = read_conversations(path, DataFormat.AUTO, "data/medical.jsonl")
    assert [next(rows).line for _ in range(16)] == list(range(1, 17))
    with pytest.raises(Refused, match=r"^data/medical.jsonl, line 17: is not JSON \(.*\); write one JSON object a line$"):
        next(rows)


@pytest.mark.parametrize("escaped", [True, False])
@pytest.mark.parametrize("text", TEXTS)
def test_strange_text_comes_through_unchanged_and_never_splits_a_line(read, text, escaped):
    row = json.dumps({"prompt": text, "response": text}, ensure_ascii=escaped).encode() + b"\n"
    conversations = read(row * 2)
    assert [turn["content"] for c in conversations for turn in c.messages] == [text] * 4


@pytest.mark.fault(47)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip))
def test_any_text_without_lone_surrogates_round_trips(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("any") / "any.jsonl"
    path.write_bytes(json.dumps({"prompt": text, "response": text}, ensure_ascii=False).encode())
    (conversation,) = read_conversations(path, DataFormat.AUTO, "any.jsonl")
    assert [turn["content"] for turn in conversation.messages] == [text, text]
