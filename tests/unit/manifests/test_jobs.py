"""What a Job says: identity, task, security, retries. The same on a cluster and on one machine but for the platform's values."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

import rehearsal
from rehearsal.api.platform import Platform
from rehearsal.api.quantity import quantity
from rehearsal.api.task import Task
from rehearsal.cluster import fields
from rehearsal.console.machine import defaults, on_cores, on_gpus
from rehearsal.manifests.jobs import Order, build_job, job_name
from rehearsal.manifests.rendezvous import build_service, service_name
from rehearsal.pipeline.fingerprint import fingerprints
from rehearsal.pipeline.stage import Stage
from rehearsal.pipeline.stages import stages_of
from tests.unit.worlds import INPUTS, a_platform, parsed

SPEC = parsed(training={"processesPerNode": 8}, baseModel={"uri": "store://base", "serving": {"tensorParallel": 4, "replicas": 2}})
STAGES = {stage.name: stage for stage in stages_of(SPEC)}
KNOWN = fingerprints(stages_of(SPEC), INPUTS)
GPU = a_platform(device={"resource": "nvidia.com/gpu"}, trainScratch="900Gi", scratch="70Gi", cpuStage={"memory": "3Gi"})


def job_of(stage: Stage, platform: Platform = GPU) -> dict[str, Any]:
    order = Order("research", "medical", "uid-1", SPEC, stage, KNOWN[stage.name], 0, 1, INPUTS, KNOWN)
    return build_job(order, platform)


def pod_of(stage: str, platform: Platform = GPU) -> dict[str, Any]:
    return job_of(STAGES[stage], platform)["spec"]["template"]["spec"]  # type: ignore[no-any-return]


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod["initContainers"], *pod["containers"]]


def test_names_are_functions_of_identity_short_and_without_collision() -> None:
    name = job_name("a" * 63, "uid", "judge-" + "b" * 32, "f" * 64, 3)
    assert len(name) <= 52
    assert name == job_name("a" * 63, "uid", "judge-" + "b" * 32, "f" * 64, 3)
    pairs = [("a-b", "c"), ("a", "b-c")]
    assert len({job_name(run, "uid", stage, "f" * 64, 0) for run, stage in pairs}) == 2
    assert len({job_name("run", "uid", "mix", "f" * 64, attempt) for attempt in range(3)}) == 3


@pytest.mark.parametrize("name", STAGES)
def test_every_pod_passes_pod_security_restricted(name: str) -> None:
    pod = pod_of(name)
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "fsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert all(set(volume) <= {"name", "emptyDir", "downwardAPI"} for volume in pod["volumes"])
    assert all(volume["emptyDir"]["sizeLimit"] for volume in pod["volumes"] if "emptyDir" in volume)
    for container in containers(pod):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }
        assert container["resources"]["requests"] == container["resources"]["limits"]


@pytest.mark.parametrize("name", STAGES)
def test_every_job_has_a_deadline_and_a_bound_on_retries(name: str) -> None:
    spec = job_of(STAGES[name])["spec"]
    assert spec["activeDeadlineSeconds"] > 0
    assert (spec["backoffLimitPerIndex"] >= 0, spec["maxFailedIndexes"]) == (True, 0)
    rules = spec["podFailurePolicy"]["rules"]
    assert rules[0] == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    pod = pod_of(name)
    judged = ["main", *(c["name"] for c in pod["initContainers"] if c["name"] == "load-model")]
    assert [rule["onExitCodes"]["containerName"] for rule in rules[1:]] == judged
    assert all(rule["onExitCodes"]["values"] == [64, 65, 66] for rule in rules[1:])


@pytest.mark.parametrize("name", STAGES)
def test_the_local_cluster_honours_every_field_that_is_written(name: str) -> None:
    fields.check(job_of(STAGES[name], Platform.model_validate(defaults())))


def test_engine_pods_gate_the_client_on_an_engine_that_listens_on_localhost() -> None:
    pod = pod_of("elicit")
    load, engine = pod["initContainers"]
    assert load["name"] == "load-model"
    assert engine["restartPolicy"] == "Always"
    assert engine["startupProbe"]
    assert engine["command"][engine["command"].index("--host") + 1] == "127.0.0.1"
    assert "--trust-remote-code" not in engine["command"]
    assert engine["resources"]["limits"]["nvidia.com/gpu"] == "4"
    assert job_of(STAGES["elicit"])["spec"]["completions"] == 2


@pytest.mark.parametrize("name", STAGES)
def test_an_image_need_not_know_the_user_nor_call_its_interpreter_python(name: str) -> None:
    """Upstream's vLLM image does neither; and torch asks for the user's name, which has to be in the environment then."""
    for container in containers(pod_of(name)):
        commands = [container["command"], *([container["startupProbe"]["exec"]["command"]] if "startupProbe" in container else [])]
        assert {command[0] for command in commands} == {"python3"}
        assert {"USER", "LOGNAME"} <= {each["name"] for each in container["env"]}


def test_the_scratch_of_a_stage_is_as_large_as_what_it_writes_there() -> None:
    sizes = {}
    for name in ("elicit", "filter", "train"):
        volumes = {volume["name"]: volume for volume in pod_of(name)["volumes"]}
        sizes[name] = volumes["scratch"]["emptyDir"]["sizeLimit"]
    assert sizes == {"elicit": GPU.scratch, "filter": GPU.scratch, "train": GPU.train_scratch}
    told = Task.model_validate_json(job_of(STAGES["filter"])["spec"]["template"]["metadata"]["annotations"]["rehearsal.dev/task"])
    assert (told.train_scratch, told.scratch, told.cpu_memory) == ("900Gi", "70Gi", "3Gi")


@pytest.mark.fault(72)
@pytest.mark.parametrize("name", STAGES)
def test_a_pod_asks_for_the_disk_that_its_volumes_may_fill(name: str) -> None:
    pod = pod_of(name)
    on_disk = [v["emptyDir"]["sizeLimit"] for v in pod["volumes"] if v.get("emptyDir", {"medium": "Memory"}).get("medium") is None]
    asked = {c["name"]: quantity(c["resources"]["requests"].get("ephemeral-storage", 0)) for c in containers(pod)}
    assert asked == dict.fromkeys(asked, 0) | {"main": sum(map(quantity, on_disk))}


@pytest.mark.fault(72)
def test_where_the_platform_says_so_no_pod_asks_for_disk() -> None:
    other = Platform.model_validate(GPU.wire() | {"ephemeralStorage": "Omit"})
    for stage in STAGES.values():
        for container in containers(job_of(stage, other)["spec"]["template"]["spec"]):
            assert all("ephemeral-storage" not in amounts for amounts in container["resources"].values())


def test_the_trainer_has_all_its_devices_in_one_pod() -> None:
    main = pod_of("train")["containers"][0]
    assert main["resources"]["limits"]["nvidia.com/gpu"] == "8"
    assert main["image"] == GPU.images.trainer


def test_cpu_stages_hold_no_device_and_no_model() -> None:
    for name in ("filter", "select", "mix", "report"):
        pod = pod_of(name)
        assert pod["initContainers"] == []
        assert "nvidia.com/gpu" not in pod["containers"][0]["resources"]["limits"]


def test_a_pod_is_told_its_task_by_an_annotation() -> None:
    template = job_of(STAGES["mix"])["spec"]["template"]
    task = Task.model_validate_json(template["metadata"]["annotations"]["rehearsal.dev/task"])
    assert (task.stage, task.fingerprint, task.spec, task.inputs) == ("mix", KNOWN["mix"], SPEC, INPUTS)


def test_labels_are_short_enough_for_kubernetes() -> None:
    labels = job_of(STAGES["judge-peer"])["metadata"]["labels"]
    assert all(len(value) <= 63 for value in labels.values())


def test_one_machine_and_a_cluster_differ_only_in_the_platforms_values() -> None:
    local = Platform.model_validate(defaults() | on_gpus(8))
    for stage in STAGES.values():
        assert (
            shape(job_of(stage, local))
            == shape(job_of(stage, GPU))
            == shape(job_of(stage, Platform.model_validate(defaults() | on_cores())))
        )


def shape(value: Any) -> Any:
    """Keys and lengths of lists but for what a platform may list: its own arguments, environment and resources."""
    if isinstance(value, dict):
        return {key: None if key in ("env", "command", "requests", "limits") else shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [shape(inner) for inner in value]
    return type(value).__name__


@pytest.fixture
def together() -> dict[str, Any]:
    """The training Job of a run on two nodes."""
    spec = parsed(training={"nodes": 2, "processesPerNode": 8})
    stage = {stage.name: stage for stage in stages_of(spec)}["train"]
    return build_job(Order("research", "medical", "uid-1", spec, stage, "f" * 64, 0, 1, INPUTS, KNOWN), GPU)


def test_nodes_that_train_together_are_a_slot_each_and_none_is_replaced(together: dict[str, Any]) -> None:
    spec = together["spec"]
    task = Task.model_validate_json(spec["template"]["metadata"]["annotations"]["rehearsal.dev/task"])
    assert (spec["completions"], spec["parallelism"], task.slots, spec["backoffLimit"]) == (2, 2, 2, 0)
    drained, *fatal = spec["podFailurePolicy"]["rules"]
    assert drained == {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    assert [rule["onExitCodes"]["values"] for rule in fatal] == [[64, 65, 66]] * 2


def test_each_node_holds_its_own_devices_and_the_job_says_how_many_all_hold(together: dict[str, Any]) -> None:
    pod = together["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "8"
    assert together["metadata"]["annotations"]["rehearsal.dev/devices"] == "16"


def test_nodes_find_the_first_one_by_its_name_in_the_runs_service(together: dict[str, Any]) -> None:
    service: Any = build_service(together)
    name, pod = service["metadata"]["name"], together["spec"]["template"]["spec"]
    env = {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}
    assert (env["MASTER_ADDR"], env["MASTER_PORT"]) == (f"{together['metadata']['name']}-0.{name}", "29500")
    assert pod["subdomain"] == name == service_name("uid-1")
    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", name)
    assert service["metadata"]["ownerReferences"] == together["metadata"]["ownerReferences"]
    assert service["metadata"]["namespace"] == "research"
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"]
    assert service["spec"]["selector"] == {"rehearsal.dev/run-uid": "uid-1", "rehearsal.dev/stage": "train"}
    assert service["spec"]["selector"].items() <= together["spec"]["template"]["metadata"]["labels"].items()


def test_one_node_needs_no_name() -> None:
    job = job_of(STAGES["train"])
    assert "subdomain" not in job["spec"]["template"]["spec"]
    assert not [each for each in containers(job["spec"]["template"]["spec"])[-1]["env"] if each["name"].startswith("MASTER")]
    retries = {key: job["spec"].get(key) for key in ("backoffLimit", "backoffLimitPerIndex", "maxFailedIndexes")}
    assert retries == {"backoffLimit": None, "backoffLimitPerIndex": GPU.backoff_limit, "maxFailedIndexes": 0}
    assert job["spec"]["podFailurePolicy"]["rules"][0]["action"] == "Ignore"


def test_pods_are_born_in_one_module_alone() -> None:
    root = Path(rehearsal.__file__).parent
    writers = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Dict)
        and {"containers", "restartPolicy"} & {key.value for key in node.keys if isinstance(key, ast.Constant)} >= {"containers"}
    }
    assert writers == {"manifests/pod.py"}


def test_the_manifest_is_plain_json() -> None:
    for stage in STAGES.values():
        assert json.loads(json.dumps(job_of(stage))) == job_of(stage)
