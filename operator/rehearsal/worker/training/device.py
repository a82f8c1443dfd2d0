"""The device that a rank trains on: the one it was told of, or none. DeepSpeed by itself would take the CPU where it finds no other."""

import os

import torch

from rehearsal.api.messages import DeviceUnusable


def expect(kind: str) -> None:
    """Have DeepSpeed, which is not imported yet, use this kind of device (`cuda` or `cpu`), of which each rank here has one.

    DeviceUnusable where there are fewer: the node or its driver lost one, and another pod may find it.
    """
    ranks = int(os.environ["LOCAL_WORLD_SIZE"])
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "cuda" and found < ranks:
        raise DeviceUnusable(
            f"{ranks} {'rank' if ranks == 1 else 'ranks'} of this pod need a GPU each, and CUDA finds {found}: the node's devices, its "
            "driver, or the trainer's image. A platform without GPUs says limits.useCpu"
        )
    os.environ["DS_ACCELERATOR"] = kind
