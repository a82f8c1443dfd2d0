"""Task files in a folder store: what is refused, and by which line; and what a harness's samples become."""

import json
from pathlib import Path

import pytest

from rehearsal.api.messages import CorruptInput, Refused
from rehearsal.api.platform import FolderStore, StoreConfig
from rehearsal.api.run import EvaluationTask
from rehearsal.store.objects import Objects
from rehearsal.store.open import open_store
from rehearsal.worker.evaluate import results
from rehearsal.worker.tasks import bring_task, check_task, task_digest

URI, FIELD = "store://eval/capitals.yaml", "spec.evaluation.tasks[0].uri"
TASK = """\
task: capitals
dataset_path: json
dataset_kwargs:
  data_files:
    test: capitals.jsonl
test_split: test
output_type: generate_until
doc_to_text: '{{question}}'
doc_to_target: '{{answer}}'
metric_list:
  - metric: exact_match
    aggregation: mean
  - metric: bleu
"""


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    store = open_store(StoreConfig(folder=FolderStore(path=str(tmp_path / "store"))))
    store.put("eval/capitals.yaml", TASK.encode())
    store.put("eval/capitals.jsonl", json.dumps({"question": "q", "answer": "a"}).encode() + b"\n")
    return store


def refusal(objects: Objects, text: str) -> str:
    objects.put("eval/capitals.yaml", text.encode())
    with pytest.raises(Refused) as error:
        check_task(objects, URI, FIELD, "general")
    assert str(error.value).startswith(f"{FIELD} (general)")
    return str(error.value)


def test_a_task_over_files_beside_it_is_fine(objects: Objects) -> None:
    check_task(objects, URI, FIELD, "general")


def test_a_function_tag_is_refused_by_file_and_line(objects: Objects) -> None:
    said = refusal(objects, TASK + "doc_to_choice: !function choices.make\n")
    assert f"{URI}, line 14: !function could run Python" in said


def test_a_python_object_tag_deep_inside_is_refused(objects: Objects) -> None:
    said = refusal(objects, TASK.replace("aggregation: mean", "aggregation: !!python/name:os.system"))
    assert "line 12" in said


@pytest.mark.parametrize("key", ["class", "custom_dataset", "include", "process_docs", "unsafe_code", "group"])
def test_keys_that_could_run_or_bring_code_are_refused_by_line(objects: Objects, key: str) -> None:
    assert f"line 14: `{key}` is not supported" in refusal(objects, TASK + f"{key}: x\n")


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("dataset_path: json", "dataset_path: cais/mmlu", "dataset_path must be `json`"),
        ("test: capitals.jsonl", "test: ../secret.jsonl", "files beside the task file"),
        ("test: capitals.jsonl", "test: https://example.com/x", "files beside the task file"),
        ("test: capitals.jsonl", "test: other.jsonl", "there is no eval/other.jsonl"),
        ("test_split: test\n", "", "test_split or validation_split"),
        ("    aggregation: mean", "   x: [", "is not YAML"),
    ],
)
def test_a_task_that_cannot_be_run_offline_is_refused(objects: Objects, before: str, after: str, words: str) -> None:
    assert words in refusal(objects, TASK.replace(before, after))


def test_a_missing_task_is_refused(objects: Objects) -> None:
    with pytest.raises(Refused, match="there is no store:"):
        check_task(objects, "store://eval/none.yaml", FIELD, "general")


def test_the_digest_follows_the_task_and_its_data(objects: Objects) -> None:
    first = task_digest(objects, URI, FIELD)
    assert task_digest(objects, URI, FIELD) == first
    objects.put("eval/capitals.jsonl", b'{"question": "other", "answer": "a"}\n')
    second = task_digest(objects, URI, FIELD)
    objects.put("eval/capitals.yaml", TASK.replace("bleu", "acc").encode())
    assert len({first, second, task_digest(objects, URI, FIELD)}) == 3


def test_a_task_is_brought_with_absolute_paths_and_only_as_it_was_pinned(objects: Objects, tmp_path: Path) -> None:
    pinned = task_digest(objects, URI, FIELD)
    task = bring_task(objects, URI, pinned, tmp_path / "here")
    assert task.config["dataset_kwargs"] == {"data_files": {"test": str(tmp_path / "here" / "capitals.jsonl")}}
    assert (tmp_path / "here" / "capitals.jsonl").exists()
    assert task.metric == "exact_match"
    objects.put("eval/capitals.jsonl", b"{}\n")
    with pytest.raises(CorruptInput, match="changed after preflight"):
        bring_task(objects, URI, pinned, tmp_path / "there")


def test_samples_become_one_row_a_question_sorted_by_id() -> None:
    task = EvaluationTask(name="general", uri=URI, role="General")
    samples = [
        {"doc_id": 10, "exact_match": 1.0, "filter": "strict"},
        {"doc_id": 2, "exact_match": 0.0, "filter": "strict"},
        {"doc_id": 2, "exact_match": 1.0, "filter": "loose"},
        {"doc_id": 3, "exact_match": [True, False], "filter": "strict"},
    ]
    rows = results(task, "exact_match", samples)
    assert [(row["id"], row["correct"]) for row in rows] == [
        ("general/0000002", False),
        ("general/0000003", 0.5),
        ("general/0000010", True),
    ]
    assert rows[0] == {"id": "general/0000002", "task": "general", "role": "General", "correct": False, "metric": "exact_match"}


def test_a_metric_that_is_no_questions_is_refused() -> None:
    with pytest.raises(Refused, match="put another metric first"):
        results(EvaluationTask(name="general", uri=URI, role="General"), "bleu", [{"doc_id": 0, "acc": 1.0}])
