"""A model built from its configuration without weights, and what its parameters are called. `prepare` serves it in a bounded child."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from rehearsal.api.messages import Refused
from rehearsal.worker.training.architecture import unsupported

ATTENTION = "sdpa"
Shapes = Mapping[str, tuple[int, ...]]
"""Tensor name -> shape, as a model's files hold them."""


def prepare(_: object) -> Callable[[Any], str | None]:
    """Return what answers (folder, shapes) with the reason why that model cannot be exported again, or None."""

    def answer(asked: tuple[str, dict[str, list[int]]]) -> str | None:
        folder, shapes = asked
        try:
            check_names(without_weights(Path(folder), buffers=False), {name: tuple(shape) for name, shape in shapes.items()})
        except Refused as error:
            return str(error)
        return None

    return answer


def without_weights(folder: Path, buffers: bool) -> PreTrainedModel:
    """Return a folder's model with its parameters on the meta device.

    With `buffers` it has those of a plain load in bf16: they follow from the configuration alone. Without, it takes no memory.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    with init_empty_weights(include_buffers=not buffers):
        return AutoModelForCausalLM.from_config(
            config, dtype=torch.bfloat16, attn_implementation=ATTENTION, trust_remote_code=False
        )


def check_names(model: PreTrainedModel, shapes: Shapes) -> None:
    """Refuse a model whose parameters are not named and shaped as its files are: it could not be exported."""
    here = {name: _shape(parameter) for name, parameter in model.named_parameters()}
    if model.config.tie_word_embeddings and shapes.keys() - here.keys() == {"lm_head.weight"}:
        raise unsupported(
            "config.json ties lm_head.weight to the embedding, and the files hold one of its own, which a plain load takes and ZeRO-3 "
            "does not: set tie_word_embeddings to false, or remove it from the files if the two are the same"
        )
    if odd := sorted(name for name in shapes.keys() | here.keys() if shapes.get(name) != here.get(name)):
        raise unsupported(
            f"{odd[0]}: transformers has {_told(here.get(odd[0]))} of that name, and the files {_told(shapes.get(odd[0]))}: "
            "a model is exported under the names it is loaded by"
        )
    kept = model.state_dict().keys() - dict(model.named_parameters(remove_duplicate=False)).keys()
    if kept:
        raise unsupported(f"{min(kept)} is a buffer that its files hold, and a fine-tune exports parameters alone")


def _told(shape: tuple[int, ...] | None) -> str:
    return "none" if shape is None else f"one of shape {list(shape)}"


def _shape(parameter: nn.Parameter) -> tuple[int, ...]:
    return tuple(getattr(parameter, "ds_shape", parameter.shape))
