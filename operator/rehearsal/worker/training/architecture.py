"""Which models can be trained: those of a closed list of types, whose files hold what the library loads, under the same names.

Asked of the files' headers and of a model without weights, before anything is paid for. The list holds what tests/stages/
test_architectures.py proves of every type: it is exported under the names that it is loaded by, its buffers survive ZeRO-3, and packed
samples do not see each other. Mixtures of experts are none of them: transformers fuses the experts' tensors as it loads them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from rehearsal.api.messages import Refused
from rehearsal.worker.training.shape import ModelShape
from rehearsal.worker.weights import Weights, parameters

ACCEPTED = frozenset(
    "arcee cohere cohere2 exaone4 gemma gemma2 gemma3_text glm glm4 granite helium hunyuan_v1_dense llama ministral mistral "  # noqa: SIM905
    "nemotron olmo olmo2 olmo3 phi phi3 qwen2 qwen3 seed_oss smollm3 stablelm starcoder2".split()
)
"""`model_type` of config.json."""
FLOATS = frozenset({"BF16", "F16", "F32"})
MOST_LABELS = 10_000
"""transformers makes a text for each of `num_labels`, which no model here has a use for."""
ATTENTION = "sdpa"


def check_trainable(folder: Path, config: Mapping[str, Any], weights: Weights) -> None:
    """Refuse a model that cannot be trained and exported again. `folder` holds its configuration, `weights` is what its files hold."""
    check_configuration(config, weights)
    try:
        model = without_weights(folder, buffers=False)
    except Exception as error:  # noqa: BLE001 - a configuration is outside text, and the library checks little of it
        said = (str(error).splitlines() or [""])[0][:300]
        raise Refused(
            f"spec.baseModel: config.json describes no model that can be built ({type(error).__name__}: {said}); copy it again",
            "ModelUnusable",
        ) from None
    check_names(model, weights)


def check_configuration(config: Mapping[str, Any], weights: Weights) -> None:
    """Refuse what the configuration and the files say by themselves; the model is built only when they agree on its depth."""
    kind = str(config.get("model_type"))[:80]
    if kind not in ACCEPTED:
        raise _unsupported(f"model type {kind} is not one of those that this release can train: {', '.join(sorted(ACCEPTED))}")
    quantised = sorted(name for name, weight in weights.items() if weight.dtype not in FLOATS)
    if config.get("quantization_config") is not None or quantised:
        raise _unsupported(
            f"its weights are quantised ({quantised[0] if quantised else 'quantization_config'}), and a full fine-tune needs them "
            "in bfloat16, float16 or float32"
        )
    labels = config.get("num_labels", 0)
    if not isinstance(labels, int) or labels > MOST_LABELS:
        raise _unsupported(f"config.json has a num_labels that is no number up to {MOST_LABELS:,}; remove it")
    if (layers := ModelShape.of(config, parameters(weights)).layers) > len(weights):
        raise _unsupported(f"config.json says {layers:,} layers and the files hold {len(weights):,} tensors")


def without_weights(folder: Path, buffers: bool) -> PreTrainedModel:
    """Return a folder's model with its parameters on the meta device.

    With `buffers` it has those of a plain load in bf16: they follow from the configuration alone. Without, it takes no memory.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    with init_empty_weights(include_buffers=not buffers):
        return AutoModelForCausalLM.from_config(
            config, dtype=torch.bfloat16, attn_implementation=ATTENTION, trust_remote_code=False
        )


def check_names(model: PreTrainedModel, weights: Weights) -> None:
    """Refuse a model whose parameters are not named and shaped as its files are: it could not be exported."""
    here = {name: _shape(parameter) for name, parameter in model.named_parameters()}
    files = {name: weight.shape for name, weight in weights.items()}
    if model.config.tie_word_embeddings and files.keys() - here.keys() == {"lm_head.weight"}:
        raise _unsupported(
            "config.json ties lm_head.weight to the embedding, and the files hold one of its own, which a plain load takes and ZeRO-3 "
            "does not: set tie_word_embeddings to false, or remove it from the files if the two are the same"
        )
    if odd := sorted(name for name in files.keys() | here.keys() if files.get(name) != here.get(name)):
        raise _unsupported(
            f"{odd[0]}: transformers has {_told(here.get(odd[0]))} of that name, and the files {_told(files.get(odd[0]))}: "
            "a model is exported under the names it is loaded by"
        )
    kept = model.state_dict().keys() - dict(model.named_parameters(remove_duplicate=False)).keys()
    if kept:
        raise _unsupported(f"{min(kept)} is a buffer that its files hold, and a fine-tune exports parameters alone")


def _told(shape: tuple[int, ...] | None) -> str:
    return "none" if shape is None else f"one of shape {list(shape)}"


def _unsupported(why: str) -> Refused:
    return Refused(f"spec.baseModel cannot be trained: {why}", "ArchitectureUnsupported")


def _shape(parameter: nn.Parameter) -> tuple[int, ...]:
    return tuple(getattr(parameter, "ds_shape", parameter.shape))
