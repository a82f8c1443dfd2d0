"""What each moment of a full fine-tune takes: load, backward pass, optimizer step, save, resume. Pure arithmetic.

Bytes a parameter: bf16 weights 2, bf16 gradients 2, fp32 master 4, Adam's two moments 8 (Rajbhandari et al. 2020, ZeRO). With the
optimizer in host memory DeepSpeed keeps an fp32 gradient 4 and a bf16 gradient buffer 2 there as well. Activations after
Korthikanti et al. 2022. The rest follows DeepSpeed 0.19.8; tests/stages/test_memory_taken.py compares it with what processes take on
the CPU. Estimates: fragmentation is not in them.
"""

from dataclasses import dataclass
from math import ceil, log2

from rehearsal.api.run import Training
from rehearsal.worker.training.shape import ModelShape

WEIGHT, GRADIENT, MASTER, ADAM = 2, 2, 4, 8
STEP = 4 + 4
"""Of an optimizer step, a parameter: its fp32 gradient, and the square root that AdamW takes of the second moment."""
OFFLOADED_STEP = 4
"""The same with the optimizer in host memory, where the fp32 gradient stays and nothing is taken a root of: a copy of the result."""
LAYER_ACTIVATIONS = 34
"""Bytes a token and hidden unit that one layer keeps for its backward pass."""
MASK = 3
"""Bytes a pair of tokens of a pack: the mask that keeps samples apart, as booleans and in bf16."""
LOGITS = 4 + 4 + 4
"""Bytes a token and vocabulary entry at the loss's peak: logarithms of probabilities, their gradient, the logits'; all fp32."""
LIVE_PARAMETERS = 1_000_000_000
"""What ZeRO-3 holds gathered at a time; DeepSpeed is told so."""
SUB_GROUP = 1_000_000_000
"""Parameters of a rank that ZeRO-3 steps at a time; DeepSpeed is told so."""
BUCKET = 500_000_000
"""Gradients, in bf16, that are reduced together; DeepSpeed is told so. Below ZeRO-3 there are two such buffers on a device."""
PROCESS, PROCESS_ON_CPU = 2e9, 0.6e9
"""What a rank takes in host memory before it loads anything: Python, torch, and CUDA's libraries with their context."""


@dataclass(frozen=True)
class Moment:
    """Bytes that a moment of a run takes: on the device of each rank, and in the host memory of a pod."""

    name: str
    device: float
    host: float


def state_bytes(parameters: int, stage: int, ranks: int, offload: bool) -> float:
    """Return the bytes of weights, gradients and optimizer state that one rank keeps on its device under ZeRO 1, 2 or 3."""
    whole = WEIGHT * (stage < 3) + GRADIENT * (stage < 2 and not offload)
    shared = WEIGHT * (stage >= 3) + GRADIENT * (stage >= 2 and not offload) + (0 if offload else MASTER + ADAM)
    return parameters * (whole + shared / ranks)


def working_bytes(model: ModelShape, training: Training) -> float:
    """Return the bytes one rank needs beside the state in a backward pass: activations of one pack, their mask, logits."""
    layer = training.sequence_length * model.hidden
    kept = 2 * layer * model.layers + LAYER_ACTIVATIONS * layer
    if not training.gradient_checkpointing:
        kept = LAYER_ACTIVATIONS * layer * model.layers
    mask = MASK * training.sequence_length**2 * training.packing
    return kept + mask + LOGITS * training.sequence_length * model.vocabulary


def moments(model: ModelShape, training: Training, offload: bool, on_cpu: bool = False) -> tuple[Moment, ...]:
    """Return what each moment takes. A run that makes no checkpoint saves and resumes nothing."""
    here, parameters, whole = training.processes_per_node, model.parameters, training.zero_stage < 3
    ranks = training.nodes * here
    share = parameters / ranks
    stepped = share if whole else min(share, SUB_GROUP)
    state = state_bytes(parameters, training.zero_stage, ranks, offload)
    host = here * (PROCESS_ON_CPU if on_cpu else PROCESS)
    steady = host + here * (host_state(share, training.zero_stage) if offload else 0)
    # Below ZeRO-3 these buffers go before the step; with it they stay, and so do weights that will be gathered again soon.
    buckets = WEIGHT * (min(parameters, BUCKET) if on_cpu else BUCKET * (1 + whole))
    staying = 0 if whole else buckets + WEIGHT * min(parameters, LIVE_PARAMETERS)
    backward = state + working_bytes(model, training) + (staying or buckets)
    on_device, on_host = (0, OFFLOADED_STEP * stepped) if offload else (STEP * stepped, 0)
    found = (
        _load(parameters, share, state, whole, host, here * (1 if on_cpu else 2)),
        Moment("in a backward pass", backward, steady),
        Moment("in an optimizer step", state + staying + on_device, steady + here * on_host),
    )
    if not training.checkpoint_minutes:
        return found
    copied = here * (0 if offload else MASTER * stepped) + WEIGHT * parameters * whole
    # The checkpoint lies in host memory as a whole before it is copied; Adam's moments are not made yet, but come from it.
    read = here * max((MASTER + ADAM) * share, WEIGHT * parameters * whole)
    on_device, on_host = (0, ADAM * share) if offload else (ADAM * share, 0)
    return (
        *found,
        Moment("as it saves", state + staying, steady + copied),
        Moment("as it resumes", state + staying - on_device, steady + read - here * on_host),
    )


def _load(parameters: int, share: float, state: float, whole: bool, host: float, copies: int) -> Moment:
    """Below ZeRO-3 every rank loads the whole model, and lays it out anew in host memory where its device has no room for both."""
    if not whole:
        return Moment("while it loads", state, host)
    return Moment("while it loads", WEIGHT * parameters + (WEIGHT + MASTER) * share, host + copies * WEIGHT * parameters)


def host_state(share: float, stage: int) -> float:
    """Return the bytes that one rank keeps in host memory with the optimizer there; `share`: its parameters.

    torch's allocator of pinned memory rounds each tensor up to a power of two (pytorch#150517). Under ZeRO-3 the gradients are pinned,
    the fp32 ones group by group; below it the master weights too, and a gradient buffer for several packs a step.
    """
    if stage < 3:
        return 2 * _pinned(MASTER * share) + 2 * _pinned(WEIGHT * share) + ADAM * share
    groups, rest = divmod(share, SUB_GROUP)
    gradients = groups * _pinned(4 * SUB_GROUP) + _pinned(4 * rest)
    return (MASTER + ADAM) * share + _pinned(GRADIENT * share) + gradients


def _pinned(size: float) -> float:
    return float(2 ** ceil(log2(size))) if size > 1 else 1.0
