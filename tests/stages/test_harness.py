"""lm-evaluation-harness as it is installed: our lists and rules are its own, it runs no code of a task, and what it raises is told."""

import asyncio
import importlib.metadata
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import evaluate
import lm_eval.filters
import lm_eval.utils
import pytest
from lm_eval.api.registry import aggregation_registry, filter_registry, get_metric, metric_registry
from lm_eval.api.samplers import SAMPLER_REGISTRY
from lm_eval.api.task import ALL_OUTPUT_TYPES, ConfigurableTask

from rehearsal.api.messages import DeviceUnusable, Refused
from rehearsal.api.platform import FolderStore, StoreConfig
from rehearsal.inference.client import Patience
from rehearsal.manifests.pod import QUIET
from rehearsal.store.open import open_store
from rehearsal.worker.harness import Harness, Rows
from rehearsal.worker.tasks.files import TaskFile, fetch_task
from rehearsal.worker.tasks.questions import prepare
from rehearsal.worker.tasks.schema import METRICS, FewShot, Generation, Metric, TaskConfig
from rehearsal.worker.tasks.templates import Rules
from tests.unit.inference.fake_engine import LENGTH, MODEL, QUICK, Body, FakeEngine, one_token

pytestmark = pytest.mark.engine
TOKENIZER = Path("examples/quickstart/store/inputs/base")
TASK: dict[str, Any] = {
    "task": "capitals",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "capitals.jsonl"}},
    "test_split": "test",
    "doc_to_text": "{{question}}",
    "doc_to_target": "{{answer}}",
    "generation_kwargs": {"until": ["\n"], "max_gen_toks": 8},
    "metric_list": [{"metric": "exact_match"}],
}
CHOICES = {"output_type": "multiple_choice", "metric_list": [{"metric": "acc"}], "generation_kwargs": None}


# What an upgrade has to be looked at for: a name that is new here may look something up, or run something.


def test_the_names_of_the_harness_are_those_that_were_looked_at() -> None:
    assert importlib.metadata.version("lm_eval") == "0.4.13"
    assert " ".join(sorted(metric_registry.keys())) == (
        "acc acc_all acc_bytes acc_mutual_info acc_norm bits_per_byte bleu brier_score bypass byte_perplexity chrf chrf++ "
        "exact_match f1 likelihood mcc perplexity ter word_perplexity"
    )
    assert " ".join(sorted(aggregation_registry.keys())) == (
        "bits_per_byte bleu brier_score bypass chrf chrf++ f1 matthews_corrcoef mean median nanmean perplexity ter "
        "weighted_perplexity"
    )
    assert " ".join(sorted(filter_registry.keys())) == (
        "custom format_span lowercase majority_vote map multi_choice_regex regex regex_pos remove_whitespace take_first "
        "take_first_k uppercase"
    )
    assert " ".join(SAMPLER_REGISTRY) == "default first_n"
    assert " ".join(sorted(ALL_OUTPUT_TYPES)) == "generate_until loglikelihood loglikelihood_rolling multiple_choice"


def test_every_name_in_our_lists_is_the_harnesss() -> None:
    steps = {"take_first", "remove_whitespace", "lowercase", "uppercase", "regex", "map"}
    assert set(METRICS) <= set(ALL_OUTPUT_TYPES)
    assert set().union(*METRICS.values()) <= set(metric_registry.keys())
    assert words_of(Metric, "aggregation") <= set(aggregation_registry.keys())
    assert steps <= set(filter_registry.keys())
    assert words_of(FewShot, "sampler") == set(SAMPLER_REGISTRY)
    theirs = set(ConfigurableTask.__init__.__globals__["TaskConfig"].__dataclass_fields__)
    assert set(TaskConfig.model_fields) <= theirs
    assert set(FewShot.model_fields) <= set(lm_eval.config.task.FewshotConfig.__dataclass_fields__)
    assert set(Generation.model_fields) == {"until", "do_sample", "temperature", "max_gen_toks"}


def words_of(model: type[Any], name: str) -> set[str]:
    return set(model.model_fields[name].annotation.__args__)


WORDS = [
    ({}, {"question": "2020-01-01?", "answer": "a"}),
    ({"doc_to_text": "question"}, {"question": "{{ question }}", "answer": "a"}),
    ({"doc_to_text": "{{question}}\n"}, {"question": "q", "answer": "a"}),
    ({"doc_to_text": "{{question|regex_replace('b+', 'c', 1)}}"}, {"question": "abba", "answer": "a"}),
    ({"doc_to_target": "answer"}, {"question": "q", "answer": ["a", "b"]}),
    ({"doc_to_target": "{{answer}}"}, {"question": "q", "answer": ["a", "b"]}),
    ({"doc_to_target": "[{{answer}}"}, {"question": "q", "answer": "a"}),
    ({"doc_to_target": "[{{answer}}]"}, {"question": "q", "answer": "a b"}),
    ({"doc_to_target": "{{answer}}"}, {"question": "q", "answer": 7}),
    ({**CHOICES, "doc_to_choice": "{{choices}}"}, {"question": "q", "answer": 1, "choices": ["a", "b"]}),
    ({**CHOICES, "doc_to_choice": "choices", "doc_to_target": "answer"}, {"question": "q", "answer": "b", "choices": ["a", "b"]}),
    ({**CHOICES, "doc_to_choice": {"x": "a", "y": "b"}, "doc_to_target": 1}, {"question": "q", "answer": "b"}),
    ({**CHOICES, "doc_to_choice": ["{{a}}", "b"], "doc_to_text": "{{answer}}", "doc_to_target": "end"}, {"answer": 0, "end": "e"}),
    ({"gen_prefix": "answer", "description": "question"}, {"question": "q", "answer": "a"}),
    ({"gen_prefix": "So: {{answer}}", "description": "About {{question}}"}, {"question": "q", "answer": "a"}),
]


@pytest.mark.parametrize(("settings", "row"), WORDS)
def test_our_words_are_the_harnesss(settings: dict[str, Any], row: dict[str, Any]) -> None:
    config = TaskConfig.model_validate(a_config(settings))
    theirs = ConfigurableTask(config={**a_config(settings, files=False), "custom_dataset": lambda **_: {"test": Rows([row])}})
    ours = Rules(config, frozenset(row))
    assert ours.text(row, config.doc_to_text) == theirs.doc_to_text(row)
    assert ours.target(row, config.doc_to_target) == theirs.doc_to_target(row)
    if config.doc_to_choice is not None:
        assert ours.choices(row, config.doc_to_choice) == theirs.doc_to_choice(row)
    assert ours.prefix(row, config.gen_prefix, is_shot=False) == (theirs.doc_to_prefix(row) or "")
    assert ours.prefix(row, config.gen_prefix, is_shot=True) == (theirs.resolve_field(row, config.gen_prefix) or "")
    assert ours.description(row) == (theirs.resolve_field(row, config.description) or "")
    check = prepare({"config": config.model_dump(mode="json", exclude_unset=True), "fields": sorted(row)})
    assert check({"rows": [row], "shots": False}) is None or settings.get("doc_to_target") == "[{{answer}}]"


def a_config(settings: dict[str, Any], files: bool = True) -> dict[str, Any]:
    config = {key: value for key, value in {**TASK, **settings}.items() if value is not None}
    return config if files else {key: value for key, value in config.items() if not key.startswith("dataset")}


# The harness at work, with a server that plays the engine.


@pytest.fixture
def engine() -> Iterator[Callable[..., FakeEngine]]:
    """Start engines in a loop of their own, as the harness brings its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    started: list[FakeEngine] = []

    def start(*script: int | str, answer: str = "a") -> FakeEngine:
        fake = FakeEngine("ok", *script, answer=written(answer))  # the first request is the canary
        asyncio.run_coroutine_threadsafe(fake.start(), loop).result()
        started.append(fake)
        return fake

    yield start
    for fake in started:
        asyncio.run_coroutine_threadsafe(fake.stop(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def written(text: str) -> Callable[[Body], Body]:
    """An engine that writes that text, and finds the last choice of every question the likeliest."""

    def answer(body: Body) -> Body:
        if "stop_token_ids" in body:
            return one_token(body)
        if not body.get("echo"):
            return {"choices": [{"index": 0, "text": text}]}
        ids = body["prompt"][0]
        probabilities: list[float] = [-1.0 / ids[-1]] * (len(ids) + 1)
        tokens = {"token_logprobs": probabilities, "top_logprobs": [{"x": p} for p in probabilities]}
        return {"choices": [{"index": 0, "text": "", "logprobs": tokens}]}

    return answer


@pytest.fixture
def a_task(tmp_path: Path) -> Callable[..., TaskFile]:
    store = open_store(StoreConfig(folder=FolderStore(path=str(tmp_path / "store"))))

    def make(rows: list[dict[str, Any]], **settings: Any) -> TaskFile:
        store.put("capitals.yaml", json.dumps(a_config(settings)).encode())
        store.put("capitals.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
        return fetch_task(store, "store://capitals.yaml", "store://capitals.yaml", tmp_path / "task")

    return make


def harness(fake: FakeEngine, patience: Patience = QUICK, seconds: int = 60) -> Harness:
    return Harness(fake.url, MODEL, TOKENIZER.resolve(), LENGTH, 1, patience, seconds)


Started, Made = Callable[..., FakeEngine], Callable[..., TaskFile]
ROWS = [{"question": "Which?", "answer": "a"}, {"question": "When?", "answer": "2020-01-01"}]


def test_written_answers_are_scored_and_a_date_stays_text(engine: Started, a_task: Made) -> None:
    samples = harness(engine(answer="2020-01-01")).ask("general", a_task(ROWS), None)
    assert [(sample["doc_id"], sample["target"], sample["exact_match"]) for sample in samples] == [
        (0, "a", 0.0),
        (1, "2020-01-01", 1.0),
    ]


def test_choices_are_scored_with_solved_examples_before_them(engine: Started, a_task: Made) -> None:
    rows = [{"question": f"q{number}", "answer": "no"} for number in range(3)]
    settings = {"doc_to_choice": ["yes", "no"], "num_fewshot": 2, "fewshot_split": "test", "metadata": {"version": 1.0}}
    samples = harness(engine()).ask("general", a_task(rows, **CHOICES, **settings), 2)
    assert [sample["doc_id"] for sample in samples] == [0, 1]
    assert {sample["acc"] for sample in samples} <= {0.0, 1.0}
    asked = samples[0]["arguments"][0][0]
    assert "q1" in asked
    assert "q2" in asked


def test_a_template_is_rendered_in_the_sandbox(engine: Started, a_task: Made) -> None:
    """Preflight refuses it too; this is the second wall."""
    with pytest.raises(Refused, match=r"store://capitals.yaml: lm-evaluation-harness cannot run it \(SecurityError\)"):
        harness(engine()).ask("general", a_task(ROWS, doc_to_text="{{ ''.__class__.__mro__ }}"), None)


@pytest.mark.parametrize(
    "settings",
    [
        {"doc_to_text": "{{questoin}}"},
        {"doc_to_text": "{{question"},
        {**CHOICES, "doc_to_choice": "{{ '['*100000 }}"},
        {"doc_to_text": "{{ question.append(1) }}"},
        {"doc_to_text": "{% include 'x' %}"},
        {"filter_list": [{"name": "x", "filter": [{"function": "regex", "regex_pattern": "("}, {"function": "take_first"}]}]},
    ],
)
def test_what_a_task_does_wrong_is_no_bug_of_ours(engine: Started, a_task: Made, settings: dict[str, Any]) -> None:
    with pytest.raises(Refused, match=r"store://capitals.yaml: lm-evaluation-harness cannot run it"):
        harness(engine()).ask("general", a_task(ROWS, **settings), None)


def test_a_regular_expression_that_does_not_end_is_stopped(engine: Started, a_task: Made) -> None:
    filters = [{"name": "x", "filter": [{"function": "regex", "regex_pattern": "(a+)+$"}, {"function": "take_first"}]}]
    with pytest.raises(Refused, match="scoring its answers, takes more than 1 s"):
        harness(engine(answer="a" * 40 + "!"), seconds=1).ask("general", a_task(ROWS, filter_list=filters), None)


def test_a_template_that_does_not_end_is_stopped(engine: Started, a_task: Made) -> None:
    loop = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    with pytest.raises(Refused, match="putting its questions into words, or"):
        harness(engine(), seconds=1).ask("general", a_task(ROWS, doc_to_text=loop), None)


def test_settings_of_examples_that_are_not_shown_do_no_harm(engine: Started, a_task: Made) -> None:
    files = {"data_files": {"test": "capitals.jsonl", "dev": "capitals.jsonl"}}
    task = a_task(ROWS, dataset_kwargs=files, fewshot_split="dev", fewshot_config={"split": "dev"})
    assert len(harness(engine()).ask("general", task, None)) == len(ROWS)


@pytest.mark.fault(80)
def test_a_wrong_request_is_told_in_the_engines_words_at_once(engine: Started, a_task: Made) -> None:
    fake = engine(400, 400)
    with pytest.raises(Refused, match=r"store://capitals.yaml: the engine refuses a question: "):
        harness(fake).ask("general", a_task(ROWS), None)
    assert len(fake.requests) <= 3, "it was not repeated"


def test_an_engine_that_fails_now_and_then_is_asked_again(engine: Started, a_task: Made) -> None:
    samples = harness(engine(500, "disconnect")).ask("general", a_task(ROWS), None)
    assert [sample["exact_match"] for sample in samples] == [1.0, 0.0]


def test_an_engine_that_is_gone_is_no_fault_of_the_task(engine: Started, a_task: Made) -> None:
    fake = engine()
    fake.healthy = False
    with pytest.raises(DeviceUnusable, match="no healthy engine"):
        harness(fake, replace(QUICK, start=0.1)).ask("general", a_task(ROWS), None)


def test_a_question_that_would_be_cut_is_refused(engine: Started, a_task: Made) -> None:
    long = [*ROWS, {"question": "Which? " * LENGTH, "answer": "a"}]
    fake = engine()
    with pytest.raises(Refused, match=r"1 of 3 prompts need \d+ tokens or more and 8 for the answer, and the model takes 512"):
        harness(fake).ask("general", a_task(long), None)
    with pytest.raises(Refused, match="2 of 2 prompts need"):
        harness(fake).ask("general", a_task(ROWS, generation_kwargs={"max_gen_toks": 600}), None)
    with pytest.raises(Refused, match="2 of 6 prompts need"):
        harness(fake).ask("general", a_task(long, **CHOICES, doc_to_choice=["yes", "a"]), None)
    assert not fake.requests


def test_no_metric_is_imported_by_its_path(engine: Started, tmp_path: Path) -> None:
    ran, evil = tmp_path / "ran", tmp_path / "evil.py"
    evil.write_text(f"open({str(ran)!r}, 'w')")
    harness(engine())
    for name in (str(evil), "accuracy", "user/space"):
        with pytest.raises(Refused, match="evaluate would import the metric"):
            evaluate.load(name)
        assert get_metric(name, True) is None
        assert get_metric(name) is None
    assert not ran.exists()


WATCHED = """
import json, socket, sys
from pathlib import Path

looked_up = []
connect, getaddrinfo = socket.socket.connect, socket.getaddrinfo


def watched_connect(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1"):
        looked_up.append(address[0])
        raise OSError("no network")
    return connect(self, address)


def watched_getaddrinfo(host, *rest, **named):
    if host not in (None, "127.0.0.1", "localhost"):
        looked_up.append(str(host))
        raise OSError("no network")
    return getaddrinfo(host, *rest, **named)


socket.socket.connect, socket.getaddrinfo = watched_connect, watched_getaddrinfo

import evaluate

for name in ("accuracy", "user/space"):
    try:
        evaluate.load(name)
    except Exception:
        pass

from rehearsal.api.platform import FolderStore, StoreConfig
from rehearsal.store.open import open_store
from rehearsal.worker.harness import Harness
from rehearsal.worker.tasks.files import fetch_task

url, model, tokenizer, longest, store = sys.argv[1:]
task = fetch_task(open_store(StoreConfig(folder=FolderStore(path=store))), "store://capitals.yaml", "task", Path("task"))
samples = Harness(url, model, Path(tokenizer), int(longest), 2).ask("general", task, None)
print(json.dumps([len(samples), looked_up]))
"""


def test_nothing_of_an_evaluation_asks_the_network(engine: Started, a_task: Made, tmp_path: Path) -> None:
    """In the environment of every pod; the library that looks metrics up is asked for two of them before it is closed."""
    a_task(ROWS)
    quiet = {**QUIET, "HOME": str(tmp_path), "TMPDIR": str(tmp_path), "PATH": "/usr/bin:/bin"}
    quiet["PYTHONPATH"] = str(Path("operator").resolve())
    command = [sys.executable, "-c", WATCHED, engine().url, MODEL, str(TOKENIZER.resolve()), str(LENGTH), str(tmp_path / "store")]
    ended = subprocess.run(command, cwd=tmp_path, env=quiet, capture_output=True, text=True, timeout=600, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert json.loads(ended.stdout.splitlines()[-1]) == [len(ROWS), []]
