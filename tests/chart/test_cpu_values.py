"""A cluster without accelerators, by the values that the chart ships for one. The e2e
runs on them, with an operator that asks for less.
"""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from rehearsal.api.platform import Platform
from rehearsal.api.quantity import quantity
from rehearsal.api.run import RunSpec
from rehearsal.console.machine import on_cores
from rehearsal.controller.platform_file import read_platform
from rehearsal.manifests.jobs import Order, build_job
from rehearsal.pipeline.fingerprint import fingerprints
from rehearsal.pipeline.sources import external_inputs
from rehearsal.pipeline.stage import Kind, Stage
from rehearsal.pipeline.stages import stages_of
from rehearsal.worker.training.disk import check_scratch
from rehearsal.worker.training.memory import Machine, decide
from rehearsal.worker.training.shape import ModelShape
from rehearsal.worker.weights import parameters, weights_of
from tests.chart.helm import CHART, Manifest, one, platform_of, render
from tests.tools import ROOT

CPU = f"--values={CHART / 'cpu-values.yaml'}"
NODE_CPU, NODE_MEMORY = Decimal(2), quantity("16Gi")
QUICKSTART, MEDICAL = ROOT / "examples/quickstart", ROOT / "examples/llama3-70b-medical"


@pytest.fixture(scope="module")
def rendered() -> list[Manifest]:
    """An install on CPUs, with what the examples refer to by name."""
    platform = yaml.safe_load((MEDICAL / "platform.yaml").read_text())
    return render({"platform": {name: platform[name] for name in ("stores", "endpoints", "hub")}}, CPU)


@pytest.fixture(scope="module")
def platform(rendered: list[Manifest], tmp_path_factory: pytest.TempPathFactory) -> Platform:
    """The platform, as the operator reads it."""
    path = tmp_path_factory.mktemp("operator") / "platform.yaml"
    path.write_text(platform_of(rendered))
    return read_platform(path, ["ops"])


@pytest.mark.parametrize("example", [QUICKSTART, MEDICAL], ids=lambda folder: folder.name)
def test_no_pod_of_any_stage_asks_for_a_device_or_a_node_that_has_one(platform: Platform, example: Path) -> None:
    jobs = jobs_of(example, platform)
    assert {job["metadata"]["labels"]["rehearsal.dev/kind"] for job in jobs} >= set(Kind) - {Kind.FETCH}
    for job in jobs:
        pod = job["spec"]["template"]["spec"]
        asked = {name for c in pod["initContainers"] + pod["containers"] for kind in c["resources"].values() for name in kind}
        assert asked == {"cpu", "memory", "ephemeral-storage"}
        assert (pod["nodeSelector"], pod["tolerations"]) == ({}, [])
        assert job["metadata"]["annotations"]["rehearsal.dev/devices"] == "0"


def test_vllm_and_deepspeed_are_told_what_the_command_tells_them_on_a_machine_without_gpus(platform: Platform) -> None:
    machine = Platform.model_validate(on_cores())
    assert platform.engine.args == machine.engine.args
    assert platform.engine.env == machine.engine.env
    assert platform.trainer == machine.trainer
    assert platform.limits.use_cpu
    assert machine.limits.use_cpu


def test_the_quickstarts_model_can_be_trained(platform: Platform) -> None:
    base, training = QUICKSTART / "store/inputs/base", spec_of(QUICKSTART).training
    model = ModelShape.of(json.loads((base / "config.json").read_text()), parameters(weights_of(base)))
    decide(model, training, Machine(float(quantity(platform.train_pod.memory)), device_bytes=None))
    check_scratch(model, training, platform.train_scratch)
    assert training.nodes * training.processes_per_node <= platform.limits.max_ranks


@pytest.mark.parametrize("work", ["an engine pod", "two training pods"])
def test_a_node_of_two_cpus_has_room_for_it_beside_the_operator_and_a_small_stage(
    platform: Platform, rendered: list[Manifest], work: str
) -> None:
    (operator,) = one(rendered, "Deployment")["spec"]["template"]["spec"]["containers"]
    pods = {
        "an engine pod": [platform.engine_pod, platform.client_pod],
        "two training pods": [platform.train_pod, platform.train_pod],
    }
    asked = [operator["resources"]["requests"], platform.cpu_stage.wire(), *(each.wire() for each in pods[work])]
    assert sum(quantity(each["cpu"]) for each in asked) <= NODE_CPU
    assert sum(quantity(each["memory"]) for each in asked) <= NODE_MEMORY


def test_pods_at_work_together_ask_for_half_of_a_disk_of_40_gb_at_most(platform: Platform) -> None:
    """The images take 12 GB of it."""
    disk = {}
    for job in jobs_of(QUICKSTART, platform):
        (main,) = job["spec"]["template"]["spec"]["containers"]
        disk[job["metadata"]["labels"]["rehearsal.dev/kind"]] = quantity(main["resources"]["requests"]["ephemeral-storage"])
    assert max(2 * disk[Kind.TRAIN], *disk.values()) + disk[Kind.MIX] <= quantity("20G")


def jobs_of(example: Path, platform: Platform) -> list[dict[str, Any]]:
    """Every Job of an example's run."""
    spec = spec_of(example)
    stages, inputs = stages_of(spec), dict.fromkeys(external_inputs(spec), "0" * 64)
    known = fingerprints(stages, inputs)
    return [
        build_job(Order("research", example.name, "uid", spec, stage, known.get(stage.name, "key"), 0, 1, inputs, known), platform)
        for stage in (Stage("preflight", Kind.PREFLIGHT), *stages)
    ]


def spec_of(example: Path) -> RunSpec:
    return RunSpec.model_validate(yaml.safe_load((example / "run.yaml").read_text())["spec"])
