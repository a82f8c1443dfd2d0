"""What the moments of a run take of a process's memory, as the kernel counts it. Prints JSON: bytes by ZeRO stage and moment.

`python -m tests.stages.measured FOLDER`: a lone rank on the CPU, where what a GPU would hold lies in host memory too.
"""

import gc
import json
import sys
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests.stages import alone

Result = TypeVar("Result")
CONFIG = LlamaConfig(
    vocab_size=320,
    hidden_size=768,
    intermediate_size=2048,
    num_hidden_layers=5,
    num_attention_heads=8,
    num_key_value_heads=8,
    tie_word_embeddings=True,
)


def taken(name: str) -> int:
    """A figure of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))


def peak(act: Callable[[], Result]) -> tuple[int, Result]:
    """Act, and return the most that the process held meanwhile."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    result = act()
    return taken("VmHWM"), result


def step(rank: Any) -> None:
    ids = torch.randint(0, 320, (1, 16))
    for last in (False, True):
        rank.set_gradient_accumulation_boundary(last)
        rank.backward(rank(input_ids=ids, use_cache=False).logits.float().square().mean())
    rank.step()


def train(folder: Path, stage: int) -> dict[str, int]:
    """Start, step and save."""
    rank = started(folder, stage)
    step(rank)
    stepping, _ = peak(lambda: step(rank))
    saving, _ = peak(lambda: rank.save_checkpoint(str(folder), tag=str(stage), save_latest=False))
    return {"in an optimizer step": stepping, "as it saves": saving}


def resume(folder: Path, stage: int) -> dict[str, int]:
    """Start, and go on from what was saved."""
    rank = started(folder, stage)
    resuming, _ = peak(lambda: rank.load_checkpoint(str(folder), tag=str(stage)))
    return {"as it resumes": resuming}


def started(folder: Path, stage: int) -> Any:
    from rehearsal.worker.training import engine  # noqa: PLC0415 - DeepSpeed settles on a device when it is imported

    return engine.start(alone.settings(folder / "model", stage), 1, torch.device("cpu"))


def less_the_process(act: Callable[[Path, int], dict[str, int]], folder: Path, stage: int) -> dict[str, int]:
    """What a moment takes beside what the process held before it loaded anything; that one's own memory is `process`."""
    alone.join()
    before, own = taken("VmRSS"), taken("RssAnon")
    return {"process": own} | {name: size - before for name, size in act(folder, stage).items()}


def main(folder: Path) -> None:
    """Print what was measured under ZeRO-2 and 3, each in a process of its own that starts without importing anything."""
    model = LlamaForCausalLM(CONFIG).bfloat16()
    model.save_pretrained(folder / "model")
    found: dict[str, Any] = {"parameters": sum(parameter.numel() for parameter in model.parameters())}
    del model
    for stage in (2, 3):
        found[str(stage)] = {}
        for act in (train, resume):
            with get_context("fork").Pool(1) as fresh:
                found[str(stage)] |= fresh.apply(less_the_process, (act, folder, stage))
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
