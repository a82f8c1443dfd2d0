"""Loads a tiny random model of every type and kind of rope under ZeRO-3; prints, as JSON, what was found of each.

`python -m tests.stages.every_type FOLDER`: one process for all of them, because it takes ten seconds to start.
"""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from tests.stages import alone

SIZES: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "max_position_embeddings": 4096,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "initializer_range": 0.1,
}
HALF = SIZES["head_dim"] // 2
ROPES: dict[str, dict[str, Any]] = {
    "default": {"rope_theta": 5e5},
    "linear": {"factor": 4.0},
    "dynamic": {"factor": 4.0},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 1024},
    "longrope": {
        "short_factor": [1.0] * HALF,
        "long_factor": [4.0] * HALF,
        "factor": 4.0,
        "original_max_position_embeddings": 4096,
    },
    "llama3": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 1024},
}
LENGTHS = (300, 120, 30, 5)
LONG = len(LENGTHS)
"""A row of 1,900 tokens comes after those of mixed lengths."""
CPU = torch.device("cpu")
DROPOUT = "llama attention_dropout"


@dataclass
class Finding:
    """What a type shows. `unlike`: buffers that differ from a plain load's; `apart`: what packing changes, and `mingled`: what it
    changes where positions go on from row to row; `trains`: whether it is as it trains after both; `gradient`: relative error.
    """

    unlike: list[str]
    apart: float
    mingled: float
    trains: bool
    gradient: float = 0.0


class Mingling(nn.Module):
    """A model that takes a pack for one sample."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, position_ids: torch.Tensor, **more: Any) -> Any:
        return self.model(input_ids=input_ids, position_ids=torch.arange(position_ids.numel()).unsqueeze(0), **more)


def configs(types: list[str]) -> dict[str, PreTrainedConfig]:
    """A configuration of every type, of every rope that Llama takes, and one with dropout."""
    made = {kind: AutoConfig.for_model(kind, **SIZES) for kind in types}
    for rope, parameters in ROPES.items():
        theta = {"rope_theta": 10_000.0, **parameters}
        made[f"llama {rope}"] = AutoConfig.for_model("llama", **SIZES, rope_parameters={"rope_type": rope, **theta})
    made[DROPOUT] = AutoConfig.for_model("llama", **SIZES, attention_dropout=0.1)
    return made


def look(folder: Path, config: PreTrainedConfig, rows_folder: Path, gradient: bool) -> Finding:
    """Save an untrained model, load it as a rank does, and compare."""
    from rehearsal.worker.training import engine  # noqa: PLC0415 - DeepSpeed settles on a device when it is imported
    from rehearsal.worker.training.architecture import check_configuration  # noqa: PLC0415
    from rehearsal.worker.training.attention import separation  # noqa: PLC0415
    from rehearsal.worker.training.build import check_names, without_weights  # noqa: PLC0415
    from rehearsal.worker.training.rows import Rows  # noqa: PLC0415
    from rehearsal.worker.weights import weights_of  # noqa: PLC0415

    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
    weights = weights_of(folder)
    check_configuration(json.loads((folder / "config.json").read_text()), weights)
    check_names(without_weights(folder, buffers=False), {name: weight.shape for name, weight in weights.items()})
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, attn_implementation="sdpa")
    rank = engine.start(alone.settings(folder, 3), 1, CPU)
    rows, mixed = Rows(rows_folder), range(len(LENGTHS))
    differing = unlike(rank.module, plain)
    apart, mingled = separation(rank, rows, mixed, CPU), separation(Mingling(rank), rows, mixed, CPU)
    found = Finding(differing, apart, mingled, rank.module.training)
    if gradient:
        found.gradient = gradient_error(rank, folder, rows)
    rank.destroy()
    return found


def unlike(model: PreTrainedModel, plain: PreTrainedModel) -> list[str]:
    """Name the buffers, and the tensors that modules hold besides, that are not those of a plain load, in dtype and value."""
    ours, theirs = held(model), held(plain)
    return sorted(
        name
        for name in ours.keys() | theirs.keys()
        if name not in ours or name not in theirs or ours[name].dtype != theirs[name].dtype or not ours[name].equal(theirs[name])
    )


def held(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    besides = {
        f"{name}.{key}": value
        for name, module in model.named_modules()
        for key, value in vars(module).items()
        if isinstance(value, torch.Tensor)
    }
    return dict(model.named_buffers(remove_duplicate=False)) | besides


def gradient_error(rank: Any, folder: Path, rows: Any) -> float:
    """Relative difference of the gradient under ZeRO-3, in bf16, to that of a plain loop in fp32, on a row of 1,900 tokens."""
    from deepspeed.utils import safe_get_full_grad  # noqa: PLC0415

    from rehearsal.worker.training.attention import token_losses  # noqa: PLC0415
    from rehearsal.worker.training.batches import pack  # noqa: PLC0415

    batch = pack(rows, [LONG], CPU)
    rank.set_gradient_accumulation_boundary(is_boundary=True)
    rank.backward(token_losses(rank, batch).mean())
    exact = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa").train()
    token_losses(exact, batch).mean().backward()
    theirs = {name: parameter.grad for name, parameter in exact.named_parameters()}
    ours = {name: safe_get_full_grad(parameter) for name, parameter in rank.module.named_parameters()}
    off = sum(float((ours[name] - grad).square().sum()) for name, grad in theirs.items() if grad is not None)
    whole = sum(float(grad.square().sum()) for grad in theirs.values() if grad is not None)
    return float((off / whole) ** 0.5)


def write(folder: Path) -> Path:
    from rehearsal.worker.training.rows import write_rows  # noqa: PLC0415

    torch.manual_seed(1)
    ids = [torch.randint(2, SIZES["vocab_size"], (length,)).tolist() for length in (*LENGTHS, 1900)]
    write_rows([{"id": str(number), "ids": row, "spans": [[1, len(row)]]} for number, row in enumerate(ids)], folder)
    return folder


def main(folder: Path) -> None:
    """Print {name: Finding}."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    alone.join()
    from rehearsal.worker.training.architecture import ACCEPTED  # noqa: PLC0415

    rows = write(folder / "rows")
    made = configs(sorted(ACCEPTED))
    found = {name: look(folder / name, config, rows, name == "llama default") for name, config in made.items()}
    print(json.dumps({name: asdict(each) for name, each in found.items()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
