"""elicit, respond and judge as programs, one after another over a folder store, against one real vLLM server on the CPU."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from rehearsal.api.messages import ExitCode, Termination
from rehearsal.api.platform import Limits, StoreConfig
from rehearsal.api.run import RunSpec
from rehearsal.api.task import Task
from rehearsal.judging.verdict import RATINGS, expected_rating
from rehearsal.pipeline.fingerprint import fingerprints, served_model_name
from rehearsal.pipeline.reconstruction import round_rows
from rehearsal.pipeline.stage import rows_per_shard
from rehearsal.pipeline.stages import stages_of
from rehearsal.prompts.chat import ChatTokenizer
from rehearsal.prompts.model import ChatModel
from rehearsal.prompts.prequery import derive_pre_query
from rehearsal.store.commit import Artifact
from rehearsal.store.open import open_store
from rehearsal.worker.models import model_digest
from rehearsal.worker.scoring import Questions
from tests.ports import free_port
from tests.stages.tiny import LONGEST

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1800)]

WORLD = Path(__file__).parents[2] / "examples" / "quickstart" / "store" / "inputs"
RUBRIC = "Score the response from 1 to 5."
COUNT, LENGTH = 1000, 512
SLOWLY = 16
"""So few requests in flight that an engine is at a stage for long enough to be hit in the midst of it."""
INSTRUCTIONS = [f"What is the capital of place {number}?" for number in range(40)]
FLAGS = [
    *("--dtype", "bfloat16", "--enforce-eager", "--max-model-len", str(LENGTH), "--load-format", "safetensors"),
    *("--no-enable-chunked-prefill", "--max-num-batched-tokens", "8192", "--generation-config", "vllm"),
    *("--distributed-executor-backend", "uni", "--disable-log-stats", "--disable-uvicorn-access-log"),
]
ENVIRONMENT = {
    **{"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"},
    **{"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1"},
}


@dataclass
class Server:
    """One vLLM server, in a process group of its own, that serves one model under the names of two."""

    model: Path
    names: list[str]
    folder: Path
    port: int = 0
    _process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    def start(self) -> None:
        self.port = self.port or free_port()
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--model", str(self.model), "--served-model-name", *self.names, *FLAGS]
        (self.folder / "tmp").mkdir(parents=True, exist_ok=True)
        environment = os.environ | ENVIRONMENT | {"TMPDIR": str(self.folder / "tmp")}
        with (self.folder / "engine.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)

    def kill(self) -> None:
        assert self._process
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@dataclass(frozen=True)
class Bench:
    """A store with two models, a run over them, and its stage programs as processes."""

    folder: Path
    server: Server
    spec: RunSpec
    inputs: dict[str, str]
    limits: Limits = field(default_factory=Limits)

    @property
    def store(self) -> StoreConfig:
        return StoreConfig.model_validate({"folder": {"path": str(self.folder / "store")}})

    def artifact(self, stage: str) -> Artifact:
        known = fingerprints(stages_of(self.spec), self.inputs)
        kind = next(found.kind for found in stages_of(self.spec) if found.name == stage)
        return Artifact(open_store(self.store), "test", kind, known[stage], stage)

    def start(self, stage: str) -> "subprocess.Popen[str]":
        scratch = self.folder / "scratch" / stage
        scratch.mkdir(parents=True, exist_ok=True)
        known = fingerprints(stages_of(self.spec), self.inputs)
        task = Task(
            **{"namespace": "test", "run": "r", "stage": stage, "fingerprint": known[stage]},
            **{"spec": self.spec, "inputs": self.inputs, "store": self.store, "limits": self.limits},
        )
        (scratch / "task.json").write_text(task.model_dump_json(by_alias=True, exclude_none=True))
        command = [sys.executable, "-m", "rehearsal.worker", stage.split("-", maxsplit=1)[0], "--task", scratch / "task.json"]
        command += ["--scratch", scratch, "--model", self.server.model, "--termination-log", scratch / "termination"]
        environment = os.environ | {"ENGINE_PORT": str(self.server.port)}
        return subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True, env=environment)

    def run(self, stage: str) -> tuple[int, Termination, list[dict[str, Any]]]:
        """Run a stage to its end; return the exit code, its last word and its progress lines."""
        out, _ = (process := self.start(stage)).communicate(timeout=LONGEST)
        termination = Termination.model_validate_json((self.folder / "scratch" / stage / "termination").read_bytes())
        return process.returncode, termination, [json.loads(line)["progress"] for line in out.splitlines()]

    def rows(self, stage: str) -> list[dict[str, Any]]:
        code, termination, progress = self.run(stage)
        assert (code, termination.reason) == (ExitCode.DONE, None)
        found = list(self.artifact(stage).rows())
        assert termination.rows == len(found)
        assert not progress or progress[-1]["done"] == progress[-1]["total"] == len(found)
        return found


def a_spec(**judging: Any) -> RunSpec:
    model = {"serving": {"maxModelLen": LENGTH}}
    members = [{"name": "base", "base": True}, {"name": "peer", "model": {"uri": "store://peer", **model}}]
    made = {
        "count": COUNT,
        "sampling": {"maxTokens": 48},
        "committee": {"members": members, "sampling": {"temperature": 0.7, "topP": 0.9, "maxTokens": 24}},
        "judging": {"mode": "LogProb", "rubric": RUBRIC, **judging},
    }
    return RunSpec.model_validate(
        {"baseModel": {"uri": "store://base", **model}, "rehearsal": {"reconstructed": made}, "domain": {"uri": "store://d.jsonl"}}
    )


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("engine-stages")
    for name in ("base", "peer"):
        shutil.copytree(WORLD / name, folder / "store" / name)
    spec, store = a_spec(), open_store(StoreConfig.model_validate({"folder": {"path": str(folder / "store")}}))
    inputs = {
        "domain": "d" * 64,
        "baseModel": model_digest(store, "store://base"),
        "model-peer": model_digest(store, "store://peer"),
    }
    known = fingerprints(stages_of(spec), inputs)
    names = {served_model_name(stage, inputs, known) for stage in stages_of(spec) if stage.name in ("elicit", "respond-peer")}
    server = Server(folder / "store" / "base", sorted(names), folder)
    server.start()
    yield Bench(folder, server, spec, inputs)
    server.kill()


@pytest.fixture(scope="module")
def instructions(bench: Bench) -> list[dict[str, Any]]:
    """What the filter stage would have sealed."""
    rows = [{"id": f"1-{number:07d}", "text": text} for number, text in enumerate(INSTRUCTIONS)]
    for stage in (bench.artifact("filter"), replace(bench, spec=a_spec(mode="Justify", maxTokens=16)).artifact("filter")):
        stage.commit_shard(0, rows[:7])
        stage.commit_shard(1, rows[7:])
        stage.seal(2)
    return rows


def test_elicitation_survives_its_own_death_and_samples_each_row_once(bench: Bench):
    output = bench.artifact("elicit")
    first = bench.start("elicit")
    deadline = time.monotonic() + LONGEST
    while not output.commits() and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    first.kill()
    first.communicate()
    before = output.commits()
    rows = bench.rows("elicit")
    assert before.items() <= output.commits().items()
    assert [row["id"] for row in rows] == [f"1-{index:07d}" for index in range(round_rows(COUNT, 1))]
    assert len(output.sealed().shards) == -(-len(rows) // rows_per_shard(len(rows)))
    ends = derive_pre_query(ChatTokenizer.load(bench.server.model)).user_end_ids
    assert all(ends.isdisjoint(row["ids"]) and len(row["ids"]) <= 48 for row in rows)
    assert {len(row["ids"]) for row in rows if row["finish"] == "length"} <= {48}
    assert len({tuple(row["ids"]) for row in rows}) > 20, "seeds differ"


def test_a_stage_that_is_sealed_asks_nothing(bench: Bench):
    alone = replace(bench, server=Server(bench.server.model, bench.server.names, bench.folder, free_port()))
    code, termination, progress = alone.run("elicit")
    assert (code, progress, termination.usage.completion_tokens) == (ExitCode.DONE, [], 0)
    assert termination.manifest_digest == bench.artifact("elicit").sealed().digest


def test_members_answer_and_judges_score_what_may_be_chosen(bench: Bench, instructions: list[dict[str, Any]]):
    ids = [row["id"] for row in instructions]
    answers = {name: bench.rows(f"respond-{name}") for name in ("base", "peer")}
    for rows in answers.values():
        assert [row["id"] for row in rows] == ids
        assert all(len(row["answers"]) == 3 for row in rows)
    assert answers["base"] != answers["peer"], "seeds follow the stage"
    for judge in ("base", "peer"):
        rows = bench.rows(f"judge-{judge}")
        assert [row["id"] for row in rows] == ids
        for row, own, others in zip(rows, answers["base"], answers["peer"], strict=True):
            assert [len(scores) for scores in row["scores"]] == [3, 3]
            for scores, given in zip(row["scores"], (own, others), strict=True):
                assert all(score is None or 1 <= score <= 5 for score in scores)
                assert all(
                    score is None for score, answer in zip(scores, given["answers"], strict=True) if answer["finish"] != "stop"
                )


def test_ratings_are_the_model_s_own_probabilities(bench: Bench):
    """The same five probabilities by another library: nothing that a sampler does is in them.

    Both compute in bfloat16. transformers in bfloat16 is itself 0.0002 (median) to 0.06 (worst of 80) away from float32.
    """
    served = ChatModel.load(bench.server.model)
    place, questions = served.rating_place(), Questions(RUBRIC, served)
    model = AutoModelForCausalLM.from_pretrained(bench.server.model, dtype=torch.bfloat16)
    responses = [row["answers"] for row in bench.artifact("respond-base").rows()]
    errors = []
    for judged, instruction, given in zip(bench.artifact("judge-base").rows(), INSTRUCTIONS, responses, strict=True):
        for score, answer in zip(judged["scores"][0], given, strict=True):
            if score is None:
                continue
            prompt = [*(questions.prompt(instruction, answer["text"]) or ()), *place.prefix_ids]
            with torch.no_grad():
                logprobs = model(torch.tensor([prompt])).logits[0, -1].float().log_softmax(0)
            expected = expected_rating(
                {rating: float(logprobs[id_]) for rating, id_ in zip(RATINGS, place.rating_ids, strict=True)}
            )
            errors.append(abs(score - (expected or 0)))
    assert len(errors) > 40
    assert median(errors) < 0.005
    assert max(errors) < 0.2


def test_a_judge_that_writes_its_reason_gives_a_rating_or_abstains(bench: Bench, instructions: list[dict[str, Any]]):
    written = replace(bench, spec=a_spec(mode="Justify", maxTokens=16))
    for row in written.rows("judge-base"):
        assert all(score in (None, *RATINGS) for scores in row["scores"] for score in scores)


@pytest.mark.fault(54)
def test_a_server_of_another_model_is_refused(bench: Bench):
    other = replace(bench, inputs=bench.inputs | {"baseModel": "f" * 64})
    code, termination, _ = other.run("elicit")
    assert (code, termination.reason) == (ExitCode.REFUSED, "WrongModel")
    assert not other.artifact("elicit").commits()


@pytest.mark.fault(53)
def test_a_server_that_is_killed_in_mid_shard_costs_time_and_nothing_else(bench: Bench):
    slowly = Limits(concurrency=SLOWLY)
    again = replace(bench, spec=bench.spec.model_copy(update={"rerun": "2"}), limits=slowly)
    output = again.artifact("elicit")
    process = again.start("elicit")
    while not output.commits() and process.poll() is None:
        time.sleep(0.02)
    bench.server.kill()
    before = output.commits()
    assert len(before) < -(-round_rows(COUNT, 1) // rows_per_shard(round_rows(COUNT, 1))), "killed in the middle"
    bench.server.start()
    process.communicate(timeout=LONGEST)
    assert process.returncode == ExitCode.DONE
    assert before.items() <= output.commits().items()
    assert [row["id"] for row in output.rows()] == [f"1-{index:07d}" for index in range(round_rows(COUNT, 1))]
