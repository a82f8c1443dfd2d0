"""DeepSpeed around the base model: ZeRO by the spec, bf16 weights, fp32 master weights and AdamW state; buffers as a plain load's."""

import os
from datetime import timedelta
from pathlib import Path

import deepspeed
import torch
from deepspeed.accelerator import get_accelerator
from deepspeed.ops.adam import DeepSpeedCPUAdam
from transformers import AutoModelForCausalLM
from transformers.integrations import HfDeepSpeedConfig

from rehearsal.worker.training.buffers import restore
from rehearsal.worker.training.build import ATTENTION, check_names, without_weights
from rehearsal.worker.training.moments import BUCKET, LIVE_PARAMETERS, SUB_GROUP
from rehearsal.worker.training.settings import Settings
from rehearsal.worker.weights import weights_of

BETAS = (0.9, 0.999)
EPSILON = 1e-8
CLIP = 1.0
HANG = timedelta(minutes=30)
"""A collective that takes longer has lost a rank."""


def join() -> torch.device:
    """Join torchrun's process group and return this rank's device, of the kind that `device.expect` settled."""
    accelerator = get_accelerator()
    if accelerator.device_name() == "cpu":
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        # DeepSpeed would compile a shared-memory operator for a minute, for inference alone; training goes through gloo.
        deepspeed.ops.__compatible_ops__ = {}
    else:
        accelerator.set_device(int(os.environ["LOCAL_RANK"]))
    deepspeed.init_distributed(dist_backend=accelerator.communication_backend_name(), timeout=HANG, verbose=False)
    return torch.device(accelerator.current_device_name())


def start(settings: Settings, ranks: int, device: torch.device) -> deepspeed.DeepSpeedEngine:
    """Return the DeepSpeed engine of the base model, ready to train. Under ZeRO-3 no rank ever holds the whole model.

    Refused where what was loaded is not what the files hold, or would not be exported as such.
    """
    config = zero_config(settings, ranks)
    partitioned = HfDeepSpeedConfig(config) if settings.zero_stage == 3 else None  # read by from_pretrained while it lives
    model = AutoModelForCausalLM.from_pretrained(
        settings.model, dtype=torch.bfloat16, attn_implementation=ATTENTION, local_files_only=True, trust_remote_code=False
    )
    del partitioned
    check_names(model, {name: weight.shape for name, weight in weights_of(Path(settings.model)).items()})
    model.config.use_cache = False
    model.train()
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    engine, *_ = deepspeed.initialize(model=model, optimizer=_optimizer(settings, model), config=config)
    restore(engine.module, without_weights(Path(settings.model), buffers=True), device)
    return engine


def _optimizer(settings: Settings, model: torch.nn.Module) -> torch.optim.Optimizer:
    rate = settings.learning_rate
    if settings.offload:
        return DeepSpeedCPUAdam(model.parameters(), lr=rate, betas=BETAS, eps=EPSILON, weight_decay=0.0)  # type: ignore[no-any-return]
    # `foreach` is what CUDA gets unasked; the CPU's own way takes four bytes a parameter more, and `moments` counts one of them.
    return torch.optim.AdamW(model.parameters(), lr=rate, betas=BETAS, eps=EPSILON, weight_decay=0.0, foreach=True)


def zero_config(settings: Settings, ranks: int) -> dict[str, object]:
    """Return DeepSpeed's configuration. The loop marks the end of a step itself, so accumulation is 1 as far as DeepSpeed knows."""
    zero: dict[str, object] = {
        "stage": settings.zero_stage,
        "contiguous_gradients": True,
        "overlap_comm": get_accelerator().device_name() != "cpu",
        "stage3_gather_16bit_weights_on_model_save": False,
        # What `moments` counts with:
        "reduce_bucket_size": BUCKET,
        "stage3_max_live_parameters": LIVE_PARAMETERS,
        "sub_group_size": SUB_GROUP,
    }
    if settings.offload:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
    return {
        "train_batch_size": ranks,
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "bf16": {"enabled": True},
        "gradient_clipping": CLIP,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 1_000_000_000,
    }
