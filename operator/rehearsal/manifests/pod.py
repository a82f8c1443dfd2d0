"""The only birthplace of a PodSpec: every pod passes Pod Security "restricted" and mounts nothing but volumes of its own.

Values reach a pod as the task file (an annotation, mounted by the downward API) and as argv; never through a shell.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rehearsal.api.platform import Platform, Resources
from rehearsal.api.quantity import Quantity, quantity
from rehearsal.api.run import Scheduling

TASK_ANNOTATION = "rehearsal.dev/task"
TASK_FILE = "/task/task.json"
SCRATCH, MODEL, TMP, TERMINATION_LOG = "/scratch", "/model", "/tmp", "/dev/termination-log"  # noqa: S108 - inside the pod
MAIN, ENGINE, LOAD_MODEL = "main", "engine", "load-model"
DISRUPTED = "DisruptionTarget"
"""The condition of a pod that was drained or preempted."""

QUIET = {
    "DO_NOT_TRACK": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_EVALUATE_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",
    "HOME": TMP,
    "LOGNAME": "rehearsal",
    "PYTHONUNBUFFERED": "1",
    "TMPDIR": TMP,
    "USER": "rehearsal",
    "VLLM_NO_USAGE_STATS": "1",
}
"""Of every container: no telemetry, no hub, a home that can be written to, and a name for a user whom an image may not know."""

USER = 65532
"""Ours in every image, whatever its own: the kubelet takes none that an image gives by name, or leaves at root."""

HEALTH_PROBE = (
    "import os, socket, sys; "
    "engine = socket.create_connection(('127.0.0.1', int(os.environ['ENGINE_PORT'])), 5); "
    "engine.sendall(b'GET /health HTTP/1.0\\r\\n\\r\\n'); "
    "sys.exit(b' 200 ' not in engine.recv(64))"
)
"""An exec probe, because the kubelet asks the pod's address and the engine listens on localhost alone. Bare, for it runs often."""


@dataclass(frozen=True)
class SecretKey:
    """One key of a Secret in the run's namespace; on one machine, the variable of the same name in the command's environment."""

    secret: str
    key: str


@dataclass(frozen=True)
class Container:
    """One container before it is written out: what differs between containers, and nothing else."""

    name: str
    image: str
    command: Sequence[str]
    resources: Resources
    env: Mapping[str, str]
    devices: int = 0
    secrets: Mapping[str, "SecretKey"] = field(default_factory=dict)


@dataclass(frozen=True)
class Pod:
    """A pod before it is written out. `engine` is a native sidecar that gates and outlives the main container.

    `scratch`: the size limit of its scratch volume. `subdomain`: the Service that gives it a host name.
    """

    main: Container
    scratch: Quantity
    load_model: Container | None = None
    engine: Container | None = None
    subdomain: str | None = None


def pod_spec(pod: Pod, platform: Platform, scheduling: Scheduling) -> dict[str, object]:
    """Return the finished PodSpec."""
    init = [_container(pod.load_model, pod, platform)] if pod.load_model else []
    if pod.engine:
        init.append(_container(pod.engine, pod, platform) | _sidecar(platform))
    spec: dict[str, object] = {
        "restartPolicy": "Never",
        "serviceAccountName": platform.service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 30,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": init,
        "containers": [_container(pod.main, pod, platform)],
        "volumes": _volumes(pod, platform),
        **_placement(pod, platform, scheduling),
    }
    if scheduling.priority_class_name:
        spec["priorityClassName"] = scheduling.priority_class_name
    if pod.subdomain:
        spec["subdomain"] = pod.subdomain
    return spec


def _placement(pod: Pod, platform: Platform, scheduling: Scheduling) -> dict[str, object]:
    """The run's own wishes, on top of where the platform's devices are for pods that take some."""
    on_devices = any(container and container.devices for container in (pod.main, pod.engine))
    selector = platform.device.node_selector if on_devices else {}
    tolerations = [*(platform.device.tolerations if on_devices else []), *scheduling.tolerations]
    return {
        "nodeSelector": {**selector, **scheduling.node_selector},
        "tolerations": [toleration.wire() for toleration in tolerations],
    }


def _container(container: Container, pod: Pod, platform: Platform) -> dict[str, object]:
    quantities = {"cpu": container.resources.cpu, "memory": container.resources.memory}
    if container.devices and platform.device.resource:
        quantities[platform.device.resource] = str(container.devices)
    if container is pod.main and platform.ephemeral_storage == "Request":
        quantities["ephemeral-storage"] = _disk(pod, platform)
    return {
        "name": container.name,
        "image": container.image,
        "command": list(container.command),
        "env": _env(container),
        "resources": {"requests": dict(quantities), "limits": dict(quantities)},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "terminationMessagePath": TERMINATION_LOG,
        "volumeMounts": _mounts(pod),
    }


def _disk(pod: Pod, platform: Platform) -> str:
    """The disk that a pod's volumes may fill together, in bytes.

    The main container asks for all of it: a scheduler adds up what containers ask for, and the volumes are the pod's.
    """
    volumes = [volume["emptyDir"] for volume in _volumes(pod, platform) if "emptyDir" in volume]
    return str(math.ceil(sum(quantity(each["sizeLimit"]) for each in volumes if each.get("medium") != "Memory")))


def _env(container: Container) -> list[dict[str, object]]:
    """Plain values, then what only this container may know; a Secret that is not there keeps the pod from starting."""
    plain: list[dict[str, object]] = [
        {"name": name, "value": value} for name, value in sorted((QUIET | dict(container.env)).items())
    ]
    return plain + [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": at.secret, "key": at.key}}}
        for name, at in sorted(container.secrets.items())
    ]


def _sidecar(platform: Platform) -> dict[str, object]:
    period = 2
    return {
        "restartPolicy": "Always",
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "ports": [{"name": "engine", "containerPort": platform.engine.port}],
        "startupProbe": {
            "exec": {"command": ["python3", "-I", "-S", "-c", HEALTH_PROBE]},
            "periodSeconds": period,
            "timeoutSeconds": 10,
            "failureThreshold": -(-platform.engine.start_seconds // period),
        },
    }


def _mounts(pod: Pod) -> list[dict[str, object]]:
    mounts: list[dict[str, object]] = [
        {"name": "task", "mountPath": "/task", "readOnly": True},
        {"name": "scratch", "mountPath": SCRATCH},
        {"name": "tmp", "mountPath": TMP},
    ]
    if pod.load_model:
        mounts += [{"name": "model", "mountPath": MODEL}, {"name": "shm", "mountPath": "/dev/shm"}]  # noqa: S108 - inside the pod
    return mounts


def _volumes(pod: Pod, platform: Platform) -> list[dict[str, Any]]:
    field = {"fieldPath": f"metadata.annotations['{TASK_ANNOTATION}']"}
    volumes: list[dict[str, Any]] = [
        {"name": "task", "downwardAPI": {"items": [{"path": "task.json", "fieldRef": field}]}},
        {"name": "scratch", "emptyDir": {"sizeLimit": pod.scratch}},
        {"name": "tmp", "emptyDir": {"sizeLimit": platform.tmp}},
    ]
    if pod.load_model:
        volumes += [
            {"name": "model", "emptyDir": {"sizeLimit": platform.model_scratch}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": platform.shared_memory}},
        ]
    return volumes
