"""The machine as a platform: what `rehearsal run` assumes where no platform file says otherwise.

A machine without NVIDIA devices gets vLLM and DeepSpeed on its CPU cores; nothing else differs.
"""

import os
from pathlib import Path
from typing import Any

from rehearsal.api.messages import Refused
from rehearsal.api.platform import Platform
from rehearsal.console.manifest import absolute_folders, read_platform

GIB = 2**30


def platform_of(manifest: Path, chosen: Path | None) -> Platform:
    """Return the platform: the chosen file's, the `platform.yaml` beside the manifest, or this machine's own."""
    beside = manifest.parent / "platform.yaml"
    if chosen and not chosen.is_file():
        raise Refused(f"{chosen}: there is no such platform file", "BadPlatform")
    if chosen or beside.is_file():
        return read_platform(chosen or beside, defaults())
    return absolute_folders(Platform.model_validate(defaults()), manifest.parent)


def gpus() -> int:
    """Return the number of NVIDIA devices."""
    return len([device for device in Path("/dev").glob("nvidia[0-9]*") if device.name[6:].isdigit()])


def cores() -> int:
    """Return the cores this process may use."""
    return len(os.sched_getaffinity(0))


def memory() -> int:
    """Return the machine's memory, in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def defaults() -> dict[str, Any]:
    """Return the platform values of this machine, camelCase as in a platform file."""
    shared = {
        "stores": {"default": {"folder": {"path": "rehearsal-store"}}},
        "progressSeconds": 1,
        "backoffLimit": 3,
        "clientPod": {"cpu": "100m", "memory": "1Gi"},
        # Preflight must find room beside a trainer that holds every core: it decides whether that goes on.
        "cpuStage": {"cpu": "0", "memory": "512Mi"},
    }
    return shared | (on_gpus(count) if (count := gpus()) else on_cores())


def on_gpus(count: int) -> dict[str, Any]:
    """Return the values of a machine with that many NVIDIA devices."""
    return {
        "device": {"resource": "nvidia.com/gpu"},
        "limits": {"progressSeconds": 1, "maxRanks": count, "maxNodes": 1},
        "enginePod": {"cpu": "2", "memory": "8Gi"},
        "trainPod": {"cpu": str(cores()), "memory": _most_memory()},
    }


def on_cores() -> dict[str, Any]:
    """Return the values of a machine without devices.

    vLLM's CPU engine runs eager, as one process beside its server, and without chunked prefill, which kills it where
    requests carry seeds (vLLM 0.32).
    """
    return {
        "limits": {"progressSeconds": 1, "concurrency": 256, "maxRanks": cores(), "maxNodes": 1, "useCpu": True},
        "engine": {
            "args": [
                *("--enforce-eager", "--no-enable-chunked-prefill", "--max-num-batched-tokens", "8192"),
                *("--distributed-executor-backend", "uni"),
            ],
            "env": {
                "OMP_NUM_THREADS": "1",
                "VLLM_CPU_KVCACHE_SPACE": "1",
                "VLLM_CPU_OMP_THREADS_BIND": "nobind",
                "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            },
            "startSeconds": 600,
        },
        "trainer": {"env": {"OMP_NUM_THREADS": "1"}},
        "enginePod": {"cpu": "900m", "memory": "5Gi"},
        "trainPod": {"cpu": str(min(2, cores())), "memory": _most_memory()},
    }


def _most_memory() -> str:
    """What a training pod may have: preflight checks a run against it, and finds room beside it."""
    return f"{int(memory() / GIB * 0.9)}Gi"
