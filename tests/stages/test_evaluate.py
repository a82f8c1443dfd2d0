"""The evaluate program with the real harness against a real vLLM server on the CPU."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rehearsal.api.messages import ExitCode, Termination
from rehearsal.api.platform import StoreConfig
from rehearsal.api.run import RunSpec
from rehearsal.api.task import Task
from rehearsal.pipeline.fingerprint import fingerprints, served_model_name
from rehearsal.pipeline.stages import stages_of
from rehearsal.store.commit import Artifact
from rehearsal.store.objects import Objects
from rehearsal.store.open import open_store
from rehearsal.worker.tasks.files import fetch_task
from tests.ports import free_port
from tests.stages.tiny import LONGEST, environment, make_model

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1800)]

DIGEST = "b" * 64
QUESTIONS = 40
MAX_TOKENS = 4
TASK = """\
task: written_elsewhere
dataset_path: json
dataset_kwargs:
  data_files:
    test: {name}.jsonl
test_split: test
output_type: generate_until
num_fewshot: 0
doc_to_text: '{{{{question}}}}'
doc_to_target: '{{{{answer}}}}'
generation_kwargs: {{until: ['<|end|>'], do_sample: false, temperature: 0.0, max_gen_toks: 4}}
metric_list:
- {{metric: exact_match, aggregation: mean, higher_is_better: true}}
"""


def spec() -> RunSpec:
    tasks = [
        {"name": "general", "uri": "store://eval/general.yaml"},
        {"name": "domain", "uri": "store://eval/domain.yaml", "role": "Domain"},
    ]
    return RunSpec.model_validate(
        {
            "baseModel": {"uri": "store://base", "serving": {"maxModelLen": 256}},
            "domain": {"uri": "store://domain.jsonl"},
            "evaluation": {"tasks": tasks},
        }
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def engine(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A server of the model under the name that the stage asks for, on a free port."""
    port = free_port()
    stage = next(stage for stage in stages_of(spec()) if stage.name == "evaluate-base")
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--model", str(model), "--served-model-name", served_model_name(stage, {"baseModel": DIGEST}, {})]
    command += ["--dtype", "bfloat16", "--enforce-eager", "--max-model-len", "256"]
    command += ["--no-enable-chunked-prefill", "--max-num-batched-tokens", "8192"]
    log = tmp_path_factory.mktemp("engine") / "log"
    settings = environment() | {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    with log.open("w") as file:
        server = subprocess.Popen(command, stdout=file, stderr=file, env=settings, start_new_session=True)
    yield port
    os.killpg(server.pid, 15)
    server.wait(LONGEST)


@pytest.fixture(scope="module")
def evaluated(
    engine: int, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Artifact, list[dict[str, Any]], Termination]:
    """Both tasks asked; of each, the engine's own answers make every second question right."""
    folder = tmp_path_factory.mktemp("evaluated")
    store = StoreConfig.model_validate({"folder": {"path": str(folder / "store")}})
    objects = open_store(store)
    wait_until_healthy(engine)
    for name in ("general", "domain"):
        write_task(objects, name, engine)
    inputs = {"baseModel": DIGEST, "domain": "d" * 64}
    for name in ("general", "domain"):
        inputs[f"task-{name}"] = fetch_task(objects, f"store://eval/{name}.yaml", name, folder / "look" / name).digest
    known = fingerprints(stages_of(spec()), inputs)
    fingerprint = known["evaluate-base"]
    task = Task(namespace="test", run="r", stage="evaluate-base", fingerprint=fingerprint, spec=spec(), inputs=inputs, store=store)
    code, progress = run(folder, task, model, engine)
    assert code == ExitCode.DONE, (folder / "log").read_text()[-3000:]
    assert run(folder, task, model, engine) == (ExitCode.DONE, [])
    artifact = Artifact(objects, "test", "evaluate", fingerprint, "evaluate-base")
    return artifact, progress, Termination.model_validate_json((folder / "termination").read_bytes())


def test_every_question_has_one_row_in_its_tasks_shard_sorted_by_id(evaluated: tuple[Artifact, Any, Any]) -> None:
    artifact = evaluated[0]
    rows = list(artifact.rows())
    assert [commit.rows for commit in artifact.sealed().shards] == [QUESTIONS, QUESTIONS]
    for shard, name, role in ((rows[:QUESTIONS], "general", "General"), (rows[QUESTIONS:], "domain", "Domain")):
        assert [row["id"] for row in shard] == [f"{name}/{number:07d}" for number in range(QUESTIONS)]
        assert {(row["task"], row["role"], row["metric"]) for row in shard} == {(name, role, "exact_match")}


def test_a_question_is_right_where_the_answer_is_the_engines_own(evaluated: tuple[Artifact, Any, Any]) -> None:
    rows = list(evaluated[0].rows())
    wrong = [row["id"] for number, row in enumerate(rows) if row["correct"] is not (number % 2 == 0)]
    assert len(wrong) <= 2, "batched answers of a random model differ now and then, not often"


def test_the_seal_and_the_last_word_hold_the_scores(evaluated: tuple[Artifact, list[dict[str, Any]], Termination]) -> None:
    artifact, progress, termination = evaluated
    facts = artifact.sealed().facts
    assert facts["general.questions"] == QUESTIONS
    assert facts["general.score"] == pytest.approx(0.5, abs=0.06)
    assert termination.facts == facts
    assert progress[-1] == progress[-1] | {"done": 2, "total": 2, "unit": "tasks"}


def run(folder: Path, task: Task, model: Path, port: int) -> tuple[int, list[dict[str, Any]]]:
    (folder / "task.json").write_text(task.model_dump_json(by_alias=True, exclude_none=True))
    (folder / "scratch").mkdir(exist_ok=True)
    command = [sys.executable, "-m", "rehearsal.worker", "evaluate", "--task", folder / "task.json", "--model", model]
    command += ["--scratch", folder / "scratch", "--termination-log", folder / "termination"]
    with (folder / "log").open("a") as log:
        ended = subprocess.run(
            [str(part) for part in command],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment() | {"ENGINE_PORT": str(port)},
            timeout=LONGEST,
            check=False,
        )
    return ended.returncode, [json.loads(line)["progress"] for line in ended.stdout.splitlines()]


def write_task(objects: Objects, name: str, port: int) -> None:
    questions = [f"{name} {number}?" for number in range(QUESTIONS)]
    prompts = [f"<|bos|><|user|>{question}<|end|><|assistant|>" for question in questions]
    answers = complete(port, prompts)
    lines = [
        json.dumps({"question": question, "answer": answer if number % 2 == 0 else f"not {answer}"})
        for number, (question, answer) in enumerate(zip(questions, answers, strict=True))
    ]
    objects.put(f"eval/{name}.jsonl", "\n".join(lines).encode() + b"\n")
    objects.put(f"eval/{name}.yaml", TASK.format(name=name).encode())


def complete(port: int, prompts: list[str]) -> list[str]:
    asked = {
        "model": f"model-{DIGEST[:16]}",
        "prompt": prompts,
        "max_tokens": MAX_TOKENS,
        "temperature": 0,
        "add_special_tokens": False,
    }
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/completions", json.dumps(asked).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=LONGEST) as answer:  # noqa: S310 - our own server
        return [choice["text"] for choice in json.load(answer)["choices"]]


def wait_until_healthy(port: int) -> None:
    deadline = time.monotonic() + LONGEST
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(1)
