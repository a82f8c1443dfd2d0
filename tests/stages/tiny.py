"""A random tiny Llama with a tokenizer, a store with a sealed mix of a pattern it can learn, and the train program run on it."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from rehearsal.api.messages import Termination
from rehearsal.api.platform import Limits, StoreConfig
from rehearsal.api.run import RunSpec
from rehearsal.api.task import Task
from rehearsal.pipeline.fingerprint import fingerprints
from rehearsal.pipeline.stages import stages_of
from rehearsal.store.commit import Artifact
from rehearsal.store.open import open_store
from tests.ports import free_port

LONGEST = 900
"""Seconds that a program may take on a machine that others share; nothing waits for them to be over."""
VOCABULARY = 320
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<|bos|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Bytes, and the special tokens of a chat."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*SPECIAL, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|bos|>", eos_token="<|end|>", pad_token="<|end|>")
    fast.chat_template = TEMPLATE
    return fast


def make_model(folder: Path, poison: bool = False) -> Path:
    """Save an untrained model; a poisoned one has a NaN weight."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=1,
    )
    model = LlamaForCausalLM(config).bfloat16()
    if poison:
        with torch.no_grad():
            model.model.layers[0].mlp.up_proj.weight[0, 0] = float("nan")
    model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def pattern_rows(count: int) -> list[dict[str, Any]]:
    """Rows that count upwards from a random byte: what comes next can be learned, from the second token on."""
    rng = random.Random(7)  # noqa: S311
    rows = []
    for index in range(count):
        length, start = rng.randrange(8, 30), rng.randrange(5, 60)
        rows.append({"id": f"{index:07d}", "ids": [start + i for i in range(length)], "spans": [[2, length]], "source": "domain"})
    return rows


@dataclass(frozen=True)
class TrainRun:
    """One task over a folder store, ready to be run as a process. `place` is what a Job tells its pod of its place."""

    folder: Path
    model: Path
    task: Task
    place: Mapping[str, str] = field(default_factory=dict)

    @property
    def output(self) -> Artifact:
        return Artifact(open_store(self.task.store), self.task.namespace, "train", str(self.task.fingerprint), "train")

    @property
    def steps(self) -> dict[int, float]:
        """Step -> loss, as the last attempt's ranks have said; a line that is still being written is not read."""
        path = self.folder / "scratch" / "training" / "events.jsonl"
        events = [json.loads(line) for line in path.read_text().split("\n")[:-1]] if path.exists() else []
        return {event["step"]: event["loss"] for event in events if event["event"] == "step"}

    @property
    def termination(self) -> Termination:
        return Termination.model_validate_json((self.folder / "termination").read_bytes())

    def start(self) -> "subprocess.Popen[str]":
        for name in ("termination", "scratch/training/events.jsonl"):
            (self.folder / name).unlink(missing_ok=True)
        (self.folder / "scratch").mkdir(parents=True, exist_ok=True)
        (self.folder / "task.json").write_text(self.task.model_dump_json(by_alias=True, exclude_none=True))
        command = [sys.executable, "-m", "rehearsal.worker", "train", "--task", self.folder / "task.json"]
        command += ["--scratch", self.folder / "scratch", "--model", self.model, "--termination-log", self.folder / "termination"]
        log = (self.folder / "log").open("a")
        return subprocess.Popen(
            [str(part) for part in command], stdout=subprocess.PIPE, stderr=log, text=True, env=environment() | self.place
        )

    def run(self) -> tuple[int, list[dict[str, Any]]]:
        """Run to the end; return the exit code and the progress lines."""
        process = self.start()
        out, _ = process.communicate(timeout=LONGEST)
        return process.returncode, [json.loads(line)["progress"] for line in out.splitlines()]

    def kill_when(self, ready: Callable[["TrainRun"], bool]) -> None:
        """Run, and `kill -9` the program (and nothing else) once something is true."""
        process = self.start()
        deadline = time.monotonic() + LONGEST
        while not ready(self) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert process.poll() is None, (self.folder / "log").read_text()[-2000:]
        process.send_signal(signal.SIGKILL)
        process.communicate()


def nodes_of(made: TrainRun) -> list[TrainRun]:
    """The pods of a multi-node attempt: a folder each, and one place to meet."""
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    return [
        replace(made, folder=made.folder / f"node-{index}", place=meeting | {"JOB_COMPLETION_INDEX": str(index)})
        for index in range(made.task.slots)
    ]


def wait_for(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONGEST
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def environment() -> dict[str, str]:
    """What the CPU platform sets."""
    here = Path(sys.executable).parent
    cpu = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return os.environ | cpu | {"PATH": f"{here}:{os.environ['PATH']}"}


def told_by(module: str, folder: Path, **more: str) -> dict[str, Any]:
    """What a program of ours prints as its last line."""
    done = subprocess.run(
        [sys.executable, "-m", module, str(folder)],
        check=False,
        capture_output=True,
        text=True,
        timeout=LONGEST,
        env=environment() | more,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def train_run(folder: Path, model: Path, rows: list[dict[str, Any]], **training: Any) -> TrainRun:
    """A train stage of two ranks whose mix is sealed; `training` changes spec.training."""
    settings = {
        "processesPerNode": 2,
        "globalBatch": 8,
        "sequenceLength": 128,
        "learningRate": 3e-3,
        "gradientCheckpointing": False,
    }
    spec = RunSpec.model_validate(
        {
            "baseModel": {"uri": "store://base"},
            "domain": {"uri": "store://domain.jsonl"},
            "training": {**settings, "zeroStage": 2, "checkpointMinutes": 0, **training},
        }
    )
    inputs = {"baseModel": "b" * 64, "domain": "d" * 64}
    known = fingerprints(stages_of(spec), inputs)
    store = StoreConfig.model_validate({"folder": {"path": str(folder / "store")}})
    mix = Artifact(open_store(store), "test", "mix", known["mix"], "mix")
    mix.commit_shard(0, rows)
    mix.seal(1)
    task = Task(
        namespace="test",
        run="r",
        stage="train",
        fingerprint=known["train"],
        spec=spec,
        inputs=inputs,
        slots=spec.training.nodes,
        store=store,
        limits=Limits(use_cpu=True),
    )
    return TrainRun(folder, model, task)
