"""Task files in a folder store: what is refused, and by which line and row; and what a harness's samples become."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rehearsal.api.messages import CorruptInput, Refused
from rehearsal.api.platform import FolderStore, StoreConfig
from rehearsal.api.run import EvaluationTask
from rehearsal.store.objects import Objects
from rehearsal.store.open import open_store
from rehearsal.worker.evaluate import results
from rehearsal.worker.tasks.check import SECONDS, check_task
from rehearsal.worker.tasks.files import MAX_DATA_BYTES, bring_task, fetch_task

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
"""
SETTINGS = r"""filter_list:
  - name: first
    filter:
      - {function: regex, regex_pattern: '[a-z]+', group_select: -1}
      - {function: map, mapping_dict: {yes: 'true'}, default_value: none}
      - {function: take_first}
generation_kwargs: {until: ["\n"], do_sample: false, temperature: 0.0, max_gen_toks: 8}
num_fewshot: 1
fewshot_config:
  sampler: first_n
  samples:
    - {question: q, answer: a}
repeats: 1
metadata: {version: 1.0}
tag: [some]
"""
Refusal = Callable[[str], str]


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    store = open_store(StoreConfig(folder=FolderStore(path=str(tmp_path / "store"))))
    store.put("eval/capitals.yaml", TASK.encode())
    store.put("eval/capitals.jsonl", json.dumps({"question": "q", "answer": "a"}).encode() + b"\n")
    return store


@pytest.fixture
def refusal(objects: Objects, tmp_path: Path) -> Refusal:
    """What a task file is refused with."""

    def refused(text: str) -> str:
        objects.put("eval/capitals.yaml", text.encode())
        with pytest.raises(Refused) as error:
            check_task(objects, URI, FIELD, "general", tmp_path / "look", seconds=1)
        assert str(error.value).startswith(f"{FIELD} (general): {URI}")
        return str(error.value)

    return refused


@pytest.mark.parametrize("text", [TASK, TASK + SETTINGS])
def test_a_task_over_files_beside_it_is_fine(objects: Objects, tmp_path: Path, text: str) -> None:
    objects.put("eval/capitals.yaml", text.encode())
    check_task(objects, URI, FIELD, "general", tmp_path / "look")


@pytest.mark.parametrize("name", ["general", "domain"])
def test_the_quickstarts_tasks_are_fine(objects: Objects, tmp_path: Path, name: str) -> None:
    for path in Path("examples/quickstart/store/inputs/eval").glob(f"{name}.*"):
        objects.put(f"eval/{path.name}", path.read_bytes())
    check_task(objects, f"store://eval/{name}.yaml", FIELD, name, tmp_path / "look")


def test_tags_are_refused_by_file_and_line(refusal: Refusal) -> None:
    assert f"{URI}, line 13: has a tag" in refusal(TASK + "doc_to_choice: !function choices.make\n")
    assert f"{URI}, line 12: has a tag" in refusal(TASK.replace("aggregation: mean", "aggregation: !!python/name:os.system"))


@pytest.mark.parametrize(
    "key",
    ["class", "custom_dataset", "include", "process_docs", "process_results", "unsafe_code", "group", "use_prompt", "doc_to_image"],
)
def test_keys_that_could_run_or_bring_code_are_refused_by_line(refusal: Refusal, key: str) -> None:
    assert f"line 13: `{key}` is not supported" in refusal(TASK + f"{key}: x\n")


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("test: capitals.jsonl", "test: other/capitals.jsonl", "must name a .jsonl or .json file beside the task file"),
        ("metric: exact_match", "metric: evil.py", "line 11: `metric_list[0].metric` must be 'exact_match', "),
        ("metric: exact_match", "metric: f1", "line 11: `metric_list[0].metric` must be"),
        ("metric: exact_match", "metric: acc", "output_type generate_until is scored by exact_match"),
        ("    aggregation: mean", "    hf_evaluate: true", "line 12: `metric_list[0].hf_evaluate` is not supported"),
        ("    aggregation: mean", "    aggregation: nanmean", "line 12: `metric_list[0].aggregation` must be 'mean'"),
        ("    aggregation: mean", "    higher_is_better: false", "higher_is_better` must be True"),
        ("    aggregation: mean", "    normalize: x", "`metric_list[0].normalize` is not supported"),
        ("function: regex,", "function: custom,", "line 16: `filter_list[0].filter[0]` must name one of the functions"),
        ("function: regex,", "function: regex, filter_fn: x,", "filter_fn` is not supported"),
        ("group_select: -1", "group_select: 1", "group_select` must be 0 or -1"),
        ("      - {function: take_first}\n", "", "line 15: `filter_list[0].filter`: take_first must be the last"),
        (
            "generation_kwargs:",
            "  - {name: first, filter: [{function: take_first}]}\ngeneration_kwargs:",
            "`filter_list[1].name`: another",
        ),
        ("default_value: none", "default_value: 1", "default_value` must be a valid string"),
        ("max_gen_toks: 8", "prompt: x", "`generation_kwargs.prompt` is not supported"),
        ("do_sample: false", "do_sample: true", "`generation_kwargs.do_sample` must be False"),
        ("temperature: 0.0", "temperature: 1.5", "`generation_kwargs.temperature` must be less than or equal to 0"),
        (r'until: ["\n"]', "until: 5", "`generation_kwargs.until` must be a valid string or must be a valid list"),
        (r'until: ["\n"]', "until: ['']", "`generation_kwargs.until"),
        ("repeats: 1", "repeats: '3'", "`repeats` must be 1"),
        ("repeats: 1", "repeats: 3", "`repeats` must be 1"),
        ("num_fewshot: 1", "num_fewshot: '1'", "`num_fewshot` must be a valid integer"),
        ("num_fewshot: 1", "num_fewshot: 2", "`num_fewshot` is 2, and there are 1 examples"),
        ("sampler: first_n", "sampler: evil", "`fewshot_config.sampler` must be 'default' or 'first_n'"),
        ("sampler: first_n", "process_docs: evil", "`fewshot_config.process_docs` is not supported"),
        ("sampler: first_n", "split: none", "`fewshot_config.split`: dataset_kwargs.data_files has no such split"),
        ("metadata: {version: 1.0}", "metadata: {version: [{a: b}]}", "`metadata.version` must be"),
        ("output_type: generate_until", "output_type: loglikelihood_rolling", "`output_type` must be"),
        ("output_type: generate_until", "output_type: loglikelihood", "is scored by acc"),
        ("dataset_path: json", "dataset_path: cais/mmlu", "`dataset_path` must be 'json'"),
        ("  data_files:", "  trust_remote_code: true\n  data_files:", "`dataset_kwargs.trust_remote_code` is not supported"),
        ("test: capitals.jsonl", "test: ../secret.jsonl", "must name a .jsonl or .json file beside"),
        ("test: capitals.jsonl", "test: https://example.com/x.json", "must name a .jsonl or .json file beside"),
        ("test: capitals.jsonl", "test: capitals.py", "line 5: `dataset_kwargs.data_files.test` must name a"),
        ("test: capitals.jsonl", "test: other.jsonl", "there is none in the store"),
        ("test_split: test\n", "", "test_split or validation_split"),
        ("test_split: test", "test_split: train", "`test_split`: dataset_kwargs.data_files has no such split; it has test"),
        ("    aggregation: mean", "   x: [", "is not YAML"),
        ("doc_to_target: '{{answer}}'", "doc_to_target: '{{answer}}'\ndoc_to_target: x", "a key for the second time"),
        ("doc_to_text: '{{question}}'", "doc_to_text: 5", "line 8: `doc_to_text` must be a valid string"),
        ("doc_to_text: '{{question}}'\n", "", "`doc_to_text` is required"),
    ],
)
def test_what_is_not_in_a_list_is_refused_by_key_and_line(refusal: Refusal, before: str, after: str, words: str) -> None:
    assert before in TASK + SETTINGS
    assert words in refusal((TASK + SETTINGS).replace(before, after, 1))


def test_code_that_is_named_as_data_is_neither_brought_nor_run(objects: Objects, tmp_path: Path) -> None:
    """What was found: a data file is Python, and a metric is the path at which it will lie."""
    ran, look = tmp_path / "ran", tmp_path / "look"
    evil = TASK.replace("test: capitals.jsonl", "test: capitals.jsonl\n    train: evil.py")
    evil += f"  - metric: {look}/evil.py\n    hf_evaluate: true\n"
    for name in ("evil.py", "evil.jsonl"):
        objects.put(f"eval/{name}", f"open({str(ran)!r}, 'w')".encode())
        for text in (evil.replace("evil.py", name), evil.replace("evil.py", name).replace("    hf_evaluate: true\n", "")):
            objects.put("eval/capitals.yaml", text.encode())
            with pytest.raises(Refused, match=r"must name a|must be 'exact_match'"):
                check_task(objects, URI, FIELD, "general", look)
            with pytest.raises(Refused, match=r"must name a|must be 'exact_match'"):
                bring_task(objects, URI, "0" * 64, look)
    assert not look.exists()
    assert not ran.exists()


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("'{{question}}'", "'{{question'", "line 8: `doc_to_text` is no jinja2 template: line 1: TemplateSyntaxError"),
        ("'{{question}}'", f'"{"{% for i in [1] %}" * 25}{"{% endfor %}" * 25}"', "`doc_to_text` is no jinja2 template"),
        ("'{{question}}'", "questoin", "`doc_to_text` is no field of the rows, and no template"),
        ("'{{question}}'", "'{{questoin}}'", "line 8: `doc_to_text` cannot be computed: UndefinedError: 'questoin' is undefined"),
        ("'{{question}}'", "\"{{ ''.__class__.__mro__ }}\"", "line 8: `doc_to_text` cannot be computed: SecurityError"),
        ("'{{question}}'", "\"{{ 'a'*10**11 }}\"", "needed more than 1024 MiB of memory; make it simpler (capitals.jsonl, row 1)"),
        (
            "'{{question}}'",
            "'{{ [1, 2]|random }}'",
            "TemplateAssertionError: No filter named …",
        ),
        ("'{{question}}'", "'{{ lipsum() }}'", "`doc_to_text` cannot be computed: UndefinedError: 'lipsum' is undefined"),
        ("'{{answer}}'", "'{{ [] }'", "line 9: `doc_to_target` is no jinja2 template"),
    ],
)
def test_a_template_is_refused_by_key_line_and_row(refusal: Refusal, before: str, after: str, words: str) -> None:
    assert words in refusal(TASK.replace(before, after))


def test_a_template_that_burns_time_is_refused(refusal: Refusal) -> None:
    loop = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    said = refusal(TASK.replace("'{{question}}'", f'"{loop}"'))
    assert "putting the row into words took more than" in said
    assert "(capitals.jsonl, row 1)" in said


def test_a_regular_expression_is_refused_by_its_key(refusal: Refusal) -> None:
    broken = SETTINGS.replace("'[a-z]+'", "'('")
    assert "line 16: `filter_list[0].filter[0].regex_pattern` is no regular expression: missing )" in refusal(TASK + broken)
    ignored = TASK + "    regexes_to_ignore: [a, '(a+)+$']\n"
    assert "line 13: `metric_list[0].regexes_to_ignore[1]` took more than 1 s" in refusal(ignored)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"question":"q","answer"', "capitals.jsonl, row 1: is not JSON"),
        (b'{"question":"q","answer":"a"}\n\n', "capitals.jsonl, row 2: is not JSON"),
        (b"", "capitals.jsonl: holds no rows"),
        (b"a,b\n", "capitals.jsonl, row 1: is not JSON"),
        (b'{"question":"q","answer":"a"}\n[1]\n', "capitals.jsonl, row 2: is no JSON object"),
        (b'{"question":"q","question":"a"}\n', "capitals.jsonl, row 1: has a key twice"),
        (b'{"question":"\\ud83d","answer":"a"}\n', "capitals.jsonl, row 1: holds half of a surrogate pair"),
        (b'{"question":"q","answer":"a"}\n' * 30 + b'{"question":"q"}\n', "(capitals.jsonl, row 31)"),
        (b'{"question":' + b"[" * 200_000, "capitals.jsonl, row 1: is nested too deeply"),
    ],
)
def test_data_is_read_strictly(objects: Objects, refusal: Refusal, data: bytes, words: str) -> None:
    objects.put("eval/capitals.jsonl", data)
    assert words in refusal(TASK)


def test_a_json_file_is_a_list_of_objects(objects: Objects, refusal: Refusal, tmp_path: Path) -> None:
    listed = TASK.replace("capitals.jsonl", "capitals.json")
    objects.put("eval/capitals.json", b'[{"question": "q", "answer": "a"}]')
    objects.put("eval/capitals.yaml", listed.encode())
    check_task(objects, URI, FIELD, "general", tmp_path / "look")
    objects.put("eval/capitals.json", b'{"question": "q", "answer": "a"}')
    assert "capitals.json: is no list of objects; name it .jsonl" in refusal(listed)


def test_a_question_is_no_example_of_itself(objects: Objects, refusal: Refusal, tmp_path: Path) -> None:
    shots = TASK + "num_fewshot: 2\nfewshot_split: test\n"
    rows = b"".join(b'{"question": "%d", "answer": "a"}\n' % number for number in (1, 2, 2))
    objects.put("eval/capitals.jsonl", rows)
    assert "`num_fewshot` is 2, and there are 1 examples for a question" in refusal(shots)
    objects.put("eval/capitals.jsonl", rows + b'{"question": "3", "answer": "a"}\n')
    check_task(objects, URI, FIELD, "general", tmp_path / "look")
    assert "`num_fewshot`: fewshot_split must name" in refusal(TASK + "num_fewshot: 2\n")


def test_all_rows_together_have_a_bound(objects: Objects, tmp_path: Path) -> None:
    times = iter([0.0, SECONDS + 1.0])
    with pytest.raises(Refused, match="takes more than 10 minutes"):
        check_task(objects, URI, FIELD, "general", tmp_path / "look", clock=lambda: next(times))


def test_data_has_a_largest_size(objects: Objects, tmp_path: Path) -> None:
    with (tmp_path / "store" / "eval" / "capitals.jsonl").open("r+b") as file:
        file.truncate(MAX_DATA_BYTES + 1)
    with pytest.raises(Refused, match="hold 256 MiB, and a task may hold 256"):
        fetch_task(objects, URI, URI, tmp_path / "look")
    with (tmp_path / "store" / "eval" / "capitals.yaml").open("r+b") as file:
        file.truncate(2**20)
    with pytest.raises(Refused, match="is longer than 256 KiB: no task file"):
        fetch_task(objects, URI, URI, tmp_path / "look")


def test_a_missing_task_is_refused(objects: Objects, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"none\.yaml: there is no such file in the store"):
        check_task(objects, "store://eval/none.yaml", FIELD, "general", tmp_path / "look")


def test_the_digest_follows_the_task_and_its_data(objects: Objects, tmp_path: Path) -> None:
    def digest() -> str:
        return fetch_task(objects, URI, FIELD, tmp_path / "look").digest

    first = digest()
    assert digest() == first
    objects.put("eval/capitals.jsonl", b'{"question": "other", "answer": "a"}\n')
    second = digest()
    objects.put("eval/capitals.yaml", (TASK + "num_fewshot: 0\n").encode())
    assert len({first, second, digest()}) == 3


def test_a_task_is_brought_only_as_it_was_pinned(objects: Objects, tmp_path: Path) -> None:
    pinned = check_task(objects, URI, FIELD, "general", tmp_path / "look")
    task = bring_task(objects, URI, pinned, tmp_path / "here")
    assert [row.fields for row in task.rows("test")] == [{"question": "q", "answer": "a"}]
    assert task.metric == "exact_match"
    objects.put("eval/capitals.jsonl", b"{}\n")
    with pytest.raises(CorruptInput, match="changed after preflight"):
        bring_task(objects, URI, pinned, tmp_path / "there")


def test_bytes_that_change_under_their_size_and_time_are_not_asked(objects: Objects, tmp_path: Path) -> None:
    """The store remembers a checksum by size and time: what counts is what was brought."""
    pinned = check_task(objects, URI, FIELD, "general", tmp_path / "look")
    stored = tmp_path / "store" / "eval" / "capitals.jsonl"
    before, known = stored.read_bytes(), stored.stat()
    objects.stat("eval/capitals.jsonl")
    with stored.open("r+b") as file:
        file.write(before.replace(b'"a"', b'"b"'))
    os.utime(stored, ns=(known.st_atime_ns, known.st_mtime_ns))
    with pytest.raises(CorruptInput, match="changed after preflight"):
        bring_task(objects, URI, pinned, tmp_path / "here")


def test_samples_become_one_row_a_question_sorted_by_id() -> None:
    task = EvaluationTask(name="general", uri=URI, role="General")
    samples = [
        {"doc_id": 10, "exact_match": 1.0, "filter": "strict"},
        {"doc_id": 2, "exact_match": 0.0, "filter": "strict"},
        {"doc_id": 2, "exact_match": 1.0, "filter": "loose"},
        {"doc_id": 3, "exact_match": 1, "filter": "strict"},
    ]
    rows = results(task, "exact_match", samples)
    assert [(row["id"], row["correct"]) for row in rows] == [
        ("general/0000002", False),
        ("general/0000003", True),
        ("general/0000010", True),
    ]
    assert rows[0] == {"id": "general/0000002", "task": "general", "role": "General", "correct": False, "metric": "exact_match"}


@pytest.mark.parametrize("value", [0.5, [True, False], (1, 1), float("nan"), ("gold", "said"), None])
def test_what_is_neither_right_nor_wrong_is_refused(value: object) -> None:
    with pytest.raises(Refused, match="acc of question 0 is neither right nor wrong"):
        results(EvaluationTask(name="general", uri=URI, role="General"), "acc", [{"doc_id": 0, "acc": value}])


def test_a_metric_that_is_no_questions_is_refused() -> None:
    with pytest.raises(Refused, match="bleu of question 0 is neither right nor wrong"):
        results(EvaluationTask(name="general", uri=URI, role="General"), "bleu", [{"doc_id": 0, "acc": 1.0}])


@pytest.mark.parametrize(
    "template", ["{% include question %}", "{{ {}[question] }}", "{{ 'a'|regex_replace('(?P<' ~ question, '') }}"]
)
def test_what_a_template_raises_on_a_row_does_not_quote_the_row(objects: Objects, refusal: Refusal, template: str) -> None:
    objects.put("eval/capitals.jsonl", b'{"question": "it\'s hunter2>", "answer": "a"}\n')
    told = refusal(TASK.replace("'{{question}}'", json.dumps(template)))
    assert "`doc_to_text` cannot be computed" in told
    assert "hunter2" not in told
