"""A rank that is alone in its world: what a test needs of DeepSpeed without torchrun. Run as a program of its own."""

import os
from pathlib import Path

from rehearsal.worker.training.device import expect
from rehearsal.worker.training.settings import Settings
from tests.ports import free_port


def settings(model: Path, zero_stage: int) -> Settings:
    """Settings of a rank that trains this model; what concerns rows and checkpoints is not read by the engine."""
    return Settings(
        device="cpu",
        model=str(model),
        rows="",
        export="",
        checkpoints="",
        events="",
        resume=None,
        resume_step=0,
        origin="",
        global_batch=1,
        sequence_length=4096,
        epochs=1,
        packing=True,
        seed="1",
        learning_rate=1e-4,
        warmup_fraction=0.0,
        zero_stage=zero_stage,
        offload=False,
        gradient_checkpointing=False,
        checkpoint_minutes=0,
    )


def join() -> None:
    """Join a world of one rank, on the CPU. DeepSpeed may be imported from here on."""
    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1"}
    expect("cpu")
    from rehearsal.worker.training import engine  # noqa: PLC0415 - DeepSpeed settles on a device when it is imported

    engine.join()
