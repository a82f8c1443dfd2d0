"""The tuned model as safetensors shards of at most 5 GB, streamed: rank 0 never holds more than one shard of a partitioned model.

Names, shapes and number of tensors are the base model's own, so that whatever loads the base model loads this one.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import deepspeed
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

SHARD_BYTES = 5_000_000_000


def shards(sizes: dict[str, int], limit: int = SHARD_BYTES) -> Iterator[list[str]]:
    """Deal tensors, in order, to shards of at most `limit` bytes; a larger tensor has a shard of its own."""
    shard: list[str] = []
    held = 0
    for name, size in sizes.items():
        if shard and held + size > limit:
            yield shard
            shard, held = [], 0
        shard.append(name)
        held += size
    yield shard


def export(model: nn.Module, folder: Path, writes: bool) -> None:
    """Write the model's parameters in bf16. Every rank takes part; the one that `writes` keeps what is gathered."""
    parameters = dict(model.named_parameters())
    sizes = {name: 2 * _numel(parameter) for name, parameter in parameters.items()}
    dealt = list(shards(sizes))
    if writes:
        folder.mkdir(parents=True, exist_ok=True)
    places: dict[str, str] = {}
    for number, names in enumerate(dealt, 1):
        file = "model.safetensors" if len(dealt) == 1 else f"model-{number:05d}-of-{len(dealt):05d}.safetensors"
        held: dict[str, Tensor] = {}
        for name in names:
            with deepspeed.zero.GatheredParameters([parameters[name]], enabled=hasattr(parameters[name], "ds_id")):
                if writes:
                    held[name] = parameters[name].detach().to("cpu", torch.bfloat16, copy=True).contiguous()
        if writes:
            save_file(held, folder / file, metadata={"format": "pt"})
        places |= dict.fromkeys(names, file)
    if writes and len(dealt) > 1:
        index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": places}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))


def _numel(parameter: nn.Parameter) -> int:
    return int(getattr(parameter, "ds_numel", parameter.numel()))
