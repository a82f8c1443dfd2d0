"""A store with models in it, and the context of a stage that works over it."""

import json
import struct
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

from rehearsal.api.platform import FolderStore as FolderConfig
from rehearsal.api.platform import StoreConfig
from rehearsal.api.run import RunSpec
from rehearsal.api.task import Task
from rehearsal.pipeline.fingerprint import fingerprints
from rehearsal.pipeline.stage import MAX_ROUNDS
from rehearsal.pipeline.stages import stages_of
from rehearsal.store.folder import FolderStore
from rehearsal.worker.context import Context
from rehearsal.worker.models import model_digest
from tests.unit.prompts.model_families import llama3

FILES = {"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors": b"weights"}

LLAMA = {
    "model_type": "llama",
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 600,
    "tie_word_embeddings": False,
    "dtype": "bfloat16",
}
"""The configuration of the smallest model that can be trained."""

OF_A_LAYER = {
    "self_attn.q_proj": (8, 8),
    "self_attn.k_proj": (4, 8),
    "self_attn.v_proj": (4, 8),
    "self_attn.o_proj": (8, 8),
    "mlp.gate_proj": (16, 8),
    "mlp.up_proj": (16, 8),
    "mlp.down_proj": (8, 16),
    "input_layernorm": (8,),
    "post_attention_layernorm": (8,),
}
LLAMA_WEIGHTS: dict[str, tuple[int, ...]] = {
    "model.embed_tokens.weight": (600, 8),
    **{f"model.layers.0.{name}.weight": shape for name, shape in OF_A_LAYER.items()},
    "model.norm.weight": (8,),
    "lm_head.weight": (600, 8),
}
"""The shapes of its tensors."""


def safetensors(shapes: Mapping[str, tuple[int, ...]] = LLAMA_WEIGHTS, dtype: str = "BF16") -> bytes:
    """A file of weights, all zero."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * prod(shape)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    data = json.dumps(header).encode()
    return struct.pack("<Q", len(data)) + data + bytes(end)


def a_store(folder: Path) -> FolderStore:
    store = FolderStore(folder)
    store.prepare()
    return store


def put_model(store: FolderStore, path: str, files: dict[str, bytes] = FILES) -> str:
    """Put a model's files into the store and return its URI."""
    for name, data in files.items():
        store.put(f"{path}/{name}", data)
    return f"store://{path}"


def talking_model(folder: Path) -> dict[str, bytes]:
    """The files of a model whose tokenizer, template, configuration and names of tensors are real; its weights are zero."""
    files = {path.name: path.read_bytes() for path in llama3().save(folder).iterdir()}
    return {"config.json": json.dumps(LLAMA).encode(), "model.safetensors": safetensors(), **files}


def a_spec(count: int = 6, serving: dict[str, Any] | None = None, evaluated: bool = False, **judging: Any) -> RunSpec:
    """A run with two members, three answers each, whose base model is `store://base` and whose peer is `store://peer`."""
    model = {"serving": {"maxModelLen": 512, **(serving or {})}}
    members = [{"name": "base", "base": True}, {"name": "peer", "model": {"uri": "store://peer", **model}}]
    made = {"count": count, "committee": {"members": members}, "judging": judging, "sampling": {"maxTokens": 32}}
    tasks = [{"name": "general", "uri": "store://eval/general.yaml"}] if evaluated else []
    return RunSpec.model_validate(
        {
            "baseModel": {"uri": "store://base", **model},
            "rehearsal": {"reconstructed": made},
            "domain": {"uri": "store://domain.jsonl"},
            "evaluation": {"tasks": tasks},
        }
    )


def a_context(tmp_path: Path, spec: RunSpec, stage: str, store: FolderStore, slots: int = 1) -> Context:
    """The context of that stage; its model folder is that of the stage's pod."""
    inputs = {"domain": "d" * 64, "task-general": "e" * 64}
    inputs |= {"baseModel": model_digest(store, "store://base"), "model-peer": model_digest(store, "store://peer")}
    known = fingerprints(stages_of(spec, MAX_ROUNDS), inputs)
    config = StoreConfig(folder=FolderConfig(path=str(store.root)))
    task = Task(
        namespace="research",
        run="medical",
        stage=stage,
        fingerprint=known[stage],
        spec=spec,
        inputs=inputs,
        slots=slots,
        store=config,
    )
    return Context(task, store, tmp_path / "scratch" / stage, tmp_path / "model" / stage)
