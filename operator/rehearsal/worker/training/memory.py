"""Whether a full fine-tune fits, by the arithmetic of its moments, before anything takes a GPU. Pure; preflight and trainer both ask."""

from dataclasses import dataclass
from typing import Self

from rehearsal.api.messages import Refused
from rehearsal.api.quantity import quantity
from rehearsal.api.run import Offload, Training
from rehearsal.api.task import Task
from rehearsal.worker.training.moments import moments
from rehearsal.worker.training.shape import ModelShape

MARGIN = 1.08
GB = 1e9


@dataclass(frozen=True)
class Machine:
    """One training pod. Without a GPU (`device_bytes` None) ranks live in host memory too."""

    host_bytes: float
    device_bytes: float | None

    @classmethod
    def of(cls, task: Task) -> Self:
        """Return the pod that the platform gives: its memory is what the pod asks for, and nothing else."""
        limits = task.limits
        return cls(float(quantity(task.train_pod.memory)), None if limits.use_cpu else limits.device_memory_gib * 2**30)


@dataclass(frozen=True)
class Need:
    """What a run needs, in bytes: of one GPU (0 without one), and of one pod's host memory; and the arithmetic in words."""

    offload: bool
    device: float
    host: float
    words: str


def need(model: ModelShape, training: Training, offload: bool, on_cpu: bool = False) -> Need:
    """Return what a run needs with or without offload: the largest of its moments, with the margin."""
    here = training.processes_per_node
    found = moments(model, training, offload, on_cpu)
    where = " with the optimizer on the host" if offload else ""
    words = f"{model.parameters / GB:.2f} B parameters, ZeRO-{training.zero_stage} over {training.nodes * here} ranks{where}: "
    if on_cpu:
        most = max(found, key=lambda moment: here * moment.device + moment.host)
        total = here * most.device + most.host
        return Need(offload, 0.0, total * MARGIN, f"{words}at most {total / GB:,.1f} GB of a pod's memory, {most.name}")
    device, host = max(found, key=lambda moment: moment.device), max(found, key=lambda moment: moment.host)
    words += (
        f"at most {device.device / GB:.1f} GB a GPU, {device.name}, and {host.host / GB:,.0f} GB of host memory a pod, {host.name}"
    )
    return Need(offload, device.device * MARGIN, host.host * MARGIN, words)


def decide(model: ModelShape, training: Training, machine: Machine) -> Need:
    """Return what the run will need, offload decided; Refused, with the arithmetic, when no allowed way fits."""
    tried = []
    for offload in _allowed(training.offload, machine):
        wanted = need(model, training, offload, machine.device_bytes is None)
        tried.append(wanted.words)
        if wanted.device <= (machine.device_bytes or 0.0) and wanted.host <= machine.host_bytes:
            return wanted
    raise Refused(
        f"spec.training does not fit. {'; or '.join(tried)}. A pod has {offered(machine)} (a margin of {MARGIN - 1:.0%} is kept). "
        "Use more processes or nodes, a higher zeroStage, offload: Auto, gradientCheckpointing or a shorter sequenceLength, or have "
        "the platform's trainPod ask for more memory",
        "DoesNotFit",
    )


def offered(machine: Machine) -> str:
    """Say what memory a pod has."""
    host = f"{machine.host_bytes / GB:,.1f} GB of host memory"
    return host if machine.device_bytes is None else f"{machine.device_bytes / GB:.1f} GB a GPU and {host}"


def _allowed(offload: Offload, machine: Machine) -> tuple[bool, ...]:
    if machine.device_bytes is None and offload is Offload.OPTIMIZER:
        raise Refused("spec.training.offload: this platform has no device to offload from; use Auto", "DoesNotFit")
    if machine.device_bytes is None:
        return (False,)
    return {Offload.AUTO: (False, True), Offload.OPTIMIZER: (True,), Offload.NONE: (False,)}[offload]
