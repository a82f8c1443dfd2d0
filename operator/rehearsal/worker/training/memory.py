"""Whether a full fine-tune fits, by arithmetic, before anything takes a GPU. Pure; preflight and the trainer both ask.

Bytes a parameter: bf16 weights 2, bf16 gradients 2, fp32 master 4, Adam's two moments 8 (Rajbhandari et al. 2020, ZeRO);
with the optimizer in host memory DeepSpeed keeps 18 there: 4 + 8, an fp32 gradient 4 and a bf16 gradient buffer 2.
Activations after Korthikanti et al. 2022, without the attention matrix. Estimates: fragmentation is in the margin only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from rehearsal.api.messages import Refused
from rehearsal.api.platform import Limits
from rehearsal.api.run import Offload, Training

WEIGHT, GRADIENT, MASTER, ADAM = 2, 2, 4, 8
HOST_OFFLOADED = MASTER + ADAM + 4 + 2
LAYER_ACTIVATIONS = 34
"""Bytes a token and hidden unit that one layer keeps for its backward pass."""
LOGITS = 2 + 4 + 4
"""Bytes a token and vocabulary entry: bf16 logits, their fp32 copy, its gradient."""
LIVE_PARAMETERS = 1_000_000_000
"""What ZeRO-3 holds gathered at a time (`stage3_max_live_parameters`)."""
MARGIN = 1.08
GB = 1e9


@dataclass(frozen=True)
class ModelShape:
    """What the arithmetic knows of a model."""

    parameters: int
    hidden: int
    layers: int
    vocabulary: int

    @classmethod
    def of(cls, config: Mapping[str, Any], weight_bytes: int) -> Self:
        """Return the shape of a model with this config.json and this many bytes of safetensors; Refused when a size is missing."""
        itemsize = {"bfloat16": 2, "float16": 2}.get(str(config.get("dtype", config.get("torch_dtype"))), 4)
        try:
            sizes = [int(config[name]) for name in ("hidden_size", "num_hidden_layers", "vocab_size")]
        except (KeyError, TypeError, ValueError) as error:
            raise Refused(
                f"spec.baseModel: config.json does not say {error}: a causal language model is needed", "ModelUnusable"
            ) from error
        return cls(weight_bytes // itemsize, *sizes)


@dataclass(frozen=True)
class Machine:
    """One training pod. Without a GPU (`device_bytes` None) ranks live in host memory too."""

    host_bytes: float
    device_bytes: float | None

    @classmethod
    def of(cls, limits: Limits, on_cpu: bool) -> Self:
        """Return the pod that the platform describes."""
        return cls(limits.host_memory_gib * 2**30, None if on_cpu else limits.device_memory_gib * 2**30)


@dataclass(frozen=True)
class Need:
    """What a run needs, in bytes: of one GPU, and of one pod's host memory; and the arithmetic in words."""

    offload: bool
    device: float
    host: float
    words: str


def state_bytes(parameters: int, stage: int, ranks: int, offload: bool) -> float:
    """Return the bytes of weights, gradients and optimizer state that one rank keeps on its device under ZeRO 1, 2 or 3."""
    whole = WEIGHT * (stage < 3) + GRADIENT * (stage < 2 and not offload)
    shared = WEIGHT * (stage >= 3) + GRADIENT * (stage >= 2 and not offload) + (0 if offload else MASTER + ADAM)
    return parameters * (whole + shared / ranks)


def working_bytes(model: ModelShape, training: Training) -> float:
    """Return the bytes one rank needs beside the state: activations of one pack, logits, gathered weights."""
    layer = training.sequence_length * model.hidden
    kept = 2 * layer * model.layers + LAYER_ACTIVATIONS * layer
    if not training.gradient_checkpointing:
        kept = LAYER_ACTIVATIONS * layer * model.layers
    gathered = WEIGHT * min(model.parameters, LIVE_PARAMETERS) * (training.zero_stage >= 3)
    return kept + LOGITS * training.sequence_length * model.vocabulary + gathered


def need(model: ModelShape, training: Training, offload: bool) -> Need:
    """Return what a run needs with or without offload."""
    ranks = training.nodes * training.processes_per_node
    state = state_bytes(model.parameters, training.zero_stage, ranks, offload)
    working = working_bytes(model, training)
    host = HOST_OFFLOADED * model.parameters / training.nodes if offload else 0.0
    where = " with the optimizer on the host" if offload else ""
    words = (
        f"{model.parameters / GB:.2f} B parameters, ZeRO-{training.zero_stage} over {ranks} ranks{where}: "
        f"{state / GB:.1f} GB of state and {working / GB:.1f} GB of activations and buffers a rank"
    )
    if offload:
        words += f", {host / GB:,.0f} GB of host memory a pod"
    return Need(offload, (state + working) * MARGIN, host * MARGIN, words)


def decide(model: ModelShape, training: Training, machine: Machine) -> Need:
    """Return what the run will need, offload decided; Refused, with the arithmetic, when no allowed way fits."""
    tried = []
    for offload in _allowed(training.offload, machine):
        wanted = need(model, training, offload)
        tried.append(wanted.words)
        if _fits(wanted, training, machine):
            return wanted
    offered = f"{machine.host_bytes / GB:,.1f} GB of host memory"
    if machine.device_bytes is not None:
        offered = f"{machine.device_bytes / GB:.1f} GB a GPU and {offered}"
    raise Refused(
        f"spec.training does not fit. {'; or '.join(tried)}. A pod has {offered} (a margin of {MARGIN - 1:.0%} is kept). "
        "Use more processes or nodes, a higher zeroStage, offload: Auto, gradientCheckpointing or a shorter sequenceLength",
        "DoesNotFit",
    )


def _allowed(offload: Offload, machine: Machine) -> tuple[bool, ...]:
    if machine.device_bytes is None and offload is Offload.OPTIMIZER:
        raise Refused("spec.training.offload: this platform has no device to offload from; use Auto", "DoesNotFit")
    if machine.device_bytes is None:
        return (False,)
    return {Offload.AUTO: (False, True), Offload.OPTIMIZER: (True,), Offload.NONE: (False,)}[offload]


def _fits(wanted: Need, training: Training, machine: Machine) -> bool:
    if machine.device_bytes is None:
        return wanted.device * training.processes_per_node + wanted.host <= machine.host_bytes
    return wanted.device <= machine.device_bytes and wanted.host <= machine.host_bytes
