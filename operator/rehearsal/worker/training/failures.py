"""From an exception on a rank to the end of the stage, as an event for the parent."""

import re
from pathlib import Path

import torch

from rehearsal.api.messages import RANK_LOST, DeviceUnusable, Refused, StageError
from rehearsal.worker.training.events import FAILED, tell

COLLECTIVE_WORDS = ("gloo", "NCCL", "nccl", "Connection closed by peer", "Connection reset", "TCPStore", "Broken pipe")
LAST_ERROR = re.compile(r"^Last error: *\n? *(\S.*)", re.M)
"""Below what failed, NCCL says why: no interface, no shared memory, who refused the connection."""


def ending(error: BaseException, rank: int) -> StageError | None:
    """Return the stage's end that an exception stands for; None is a bug of ours."""
    if isinstance(error, StageError):
        return error
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return Refused(f"GPU {rank} ran out of memory: {_numbers()}", "OutOfMemory")
    if isinstance(error, torch.AcceleratorError):
        return DeviceUnusable(f"the device of rank {rank} is unusable: {_first_line(error)}")
    if isinstance(error, torch.distributed.DistError) or any(word in str(error) for word in COLLECTIVE_WORDS):
        return DeviceUnusable(f"rank {rank} lost the other ranks: {_told(error)}", RANK_LOST)
    return None


def report(events: Path, error: BaseException, rank: int) -> None:
    """Tell the parent how this rank ended."""
    end = ending(error, rank)
    if end is None:
        tell(events, FAILED, code=70, reason="Bug", message=f"rank {rank}: {type(error).__name__}: {_first_line(error)}"[:1000])
    else:
        tell(events, FAILED, code=int(end.code), reason=end.reason, message=str(end)[:1500])


def _numbers() -> str:
    free, total = torch.cuda.mem_get_info()
    peak = torch.cuda.max_memory_allocated()
    return (
        f"{free / 1e9:.1f} of {total / 1e9:.1f} GB were free, tensors took {peak / 1e9:.1f} GB at the peak. Use more ranks, a higher "
        "spec.training.zeroStage, offload: Optimizer, gradientCheckpointing or a shorter sequenceLength"
    )


def _told(error: BaseException) -> str:
    """Return what gloo or NCCL says happened: without the place in its source and its advice, with the cause that NCCL tells below."""
    happened = re.sub(r"^\[\S+:[0-9]+\] *", "", _first_line(error)).partition(". ")[0]
    cause = LAST_ERROR.search(str(error))
    return f"{happened}; {cause[1].strip()[:300]}" if cause else happened


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:300]
