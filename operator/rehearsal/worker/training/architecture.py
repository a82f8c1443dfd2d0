"""Which models can be trained: those of a closed list of types, whose files hold what the library loads, under the same names.

Asked of the files' headers and of a model without weights, before anything is paid for. The list holds what tests/stages/
test_architectures.py proves of every type: it is exported under the names that it is loaded by, its buffers survive ZeRO-3, and packed
samples do not see each other. Mixtures of experts are none of them: transformers fuses the experts' tensors as it loads them.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from rehearsal.api.messages import Refused
from rehearsal.outside.bounded import Bounded, OutOfBounds, Raised
from rehearsal.worker.training.shape import ModelShape
from rehearsal.worker.weights import Weights, parameters

ACCEPTED = frozenset(
    "arcee cohere cohere2 exaone4 gemma gemma2 gemma3_text glm glm4 granite helium hunyuan_v1_dense llama ministral mistral "  # noqa: SIM905
    "nemotron olmo olmo2 olmo3 phi phi3 qwen2 qwen3 seed_oss smollm3 stablelm starcoder2".split()
)
"""`model_type` of config.json."""
FLOATS = frozenset({"BF16", "F16", "F32"})
BUILDER = "rehearsal.worker.training.build"
MEMORY = 3 * 2**29
"""Of data, in bytes: torch and transformers take a gigabyte, a model without weights next to nothing."""


def check_trainable(folder: Path, config: Mapping[str, Any], weights: Weights) -> None:
    """Refuse a model that cannot be trained and exported again. `folder` holds its configuration, `weights` is what its files hold."""
    check_configuration(config, weights)
    try:
        why = _builder().call([str(folder), {name: weight.shape for name, weight in weights.items()}])
    except (Raised, OutOfBounds) as error:
        how = f"{error.kind} as it is built" if isinstance(error, Raised) else f"building it {error}"
        raise Refused(
            f"spec.baseModel: config.json describes no model that can be built ({how}); copy it again", "ModelUnusable"
        ) from None
    if why:
        raise Refused(str(why), "ArchitectureUnsupported")


@cache
def _builder() -> Bounded:
    """One child a process: it takes seconds to start."""
    return Bounded(BUILDER, memory=MEMORY, limit="DATA")


def check_configuration(config: Mapping[str, Any], weights: Weights) -> None:
    """Refuse what the configuration and the files say by themselves; the model is built only when they agree on its depth."""
    kind = str(config.get("model_type"))[:80]
    if kind not in ACCEPTED:
        raise unsupported(f"model type {kind} is not one of those that this release can train: {', '.join(sorted(ACCEPTED))}")
    quantised = sorted(name for name, weight in weights.items() if weight.dtype not in FLOATS)
    if config.get("quantization_config") is not None or quantised:
        raise unsupported(
            f"its weights are quantised ({quantised[0] if quantised else 'quantization_config'}), and a full fine-tune needs them "
            "in bfloat16, float16 or float32"
        )
    if (layers := ModelShape.of(config, parameters(weights)).layers) > len(weights):
        raise unsupported(f"config.json says {layers:,} layers and the files hold {len(weights):,} tensors")


def unsupported(why: str) -> Refused:
    """Return the refusal of a base model that cannot be trained."""
    return Refused(f"spec.baseModel cannot be trained: {why}", "ArchitectureUnsupported")
