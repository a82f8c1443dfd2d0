"""The Job of a stage: its name, its labels, what its pods run, and when Kubernetes may try again."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import rehearsal
from rehearsal.api.messages import FATAL
from rehearsal.api.platform import EndpointConfig, Platform
from rehearsal.api.run import RunSpec
from rehearsal.api.task import Task
from rehearsal.manifests.containers import endpoint_keys, engine, load_model, store_keys, worker
from rehearsal.manifests.execution import execution_digest, supplies_digest
from rehearsal.manifests.pod import DISRUPTED, LOAD_MODEL, MAIN, TASK_ANNOTATION, Container, Pod, SecretKey, pod_spec
from rehearsal.manifests.rendezvous import first_pod, service_name
from rehearsal.pipeline.fingerprint import served_model_name
from rehearsal.pipeline.stage import ENGINE_KINDS, Kind, Stage

LABEL = "rehearsal.dev"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
WITH_TORCH = frozenset({Kind.PREFLIGHT, Kind.FETCH, Kind.TRAIN, Kind.EVALUATE})
"""Stages of the trainer's image. Preflight builds a model without weights: docs/adr/0009-trainable-before-elicitation.md."""
NAME_LIMIT = 52
"""A Job's pods add an index and a random suffix to its name, and stay within 63 characters."""


@dataclass(frozen=True)
class Order:
    """Everything a Job is made of. `known` maps every stage to its fingerprint; preflight is ordered under a key of its own.

    `seals`: stage -> digest of its seal, of every stage that is sealed by now.
    """

    namespace: str
    run: str
    uid: str
    spec: RunSpec
    stage: Stage
    fingerprint: str
    attempt: int = 0
    rounds: int = 1
    inputs: Mapping[str, str] | None = None
    known: Mapping[str, str] | None = None
    seals: Mapping[str, str] | None = None

    @property
    def job(self) -> str:
        """The Job's name."""
        return job_name(self.run, self.uid, self.stage.name, self.fingerprint, self.attempt)


def job_name(run: str, uid: str, stage: str, fingerprint: str, attempt: int) -> str:
    """Return the name of a stage's Job: a function of its identity, so that creating it twice is creating it once."""
    suffix = hashlib.sha256("\0".join((uid, stage, fingerprint, str(attempt))).encode()).hexdigest()[:10]
    readable = f"{run[:20].strip('-.')}-{stage[:20]}".replace(".", "-").strip("-")
    return f"{readable}-{suffix}"[-NAME_LIMIT:]


def fingerprint_label(fingerprint: str) -> str:
    """Return a fingerprint as a label's value, which holds at most 63 characters."""
    return fingerprint[:40]


def build_job(order: Order, platform: Platform) -> dict[str, object]:
    """Return the finished Job."""
    labels = _labels(order)
    queue = {QUEUE_LABEL: order.spec.queue_name} if order.spec.queue_name else {}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": order.job,
            "namespace": order.namespace,
            "labels": labels | queue,
            "annotations": {
                f"{LABEL}/fingerprint": order.fingerprint,
                f"{LABEL}/attempt": str(order.attempt),
                f"{LABEL}/execution": execution_digest(order.spec, order.stage, platform),
                f"{LABEL}/supplies": supplies_digest(platform),
                f"{LABEL}/devices": str(_devices(order, platform)),
            },
            "ownerReferences": [
                {
                    "apiVersion": "rehearsal.dev/v1alpha1",
                    "kind": "ReconstructionRun",
                    "name": order.run,
                    "uid": order.uid,
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        },
        "spec": _job_spec(order, platform, labels),
    }


def _labels(order: Order) -> dict[str, str]:
    """What a Job and its pods are found by."""
    labels = {
        "app.kubernetes.io/managed-by": "rehearsal",
        "app.kubernetes.io/version": rehearsal.__version__,
        f"{LABEL}/run": order.run[:63].rstrip("-."),
        f"{LABEL}/run-uid": order.uid,
        f"{LABEL}/stage": order.stage.name,
        f"{LABEL}/kind": str(order.stage.kind),
        f"{LABEL}/store": order.spec.store,
        f"{LABEL}/fingerprint": fingerprint_label(order.fingerprint),
    }
    if order.stage.endpoint:
        labels[f"{LABEL}/endpoint"] = order.stage.endpoint.name
    return labels


def _job_spec(order: Order, platform: Platform, labels: Mapping[str, str]) -> dict[str, object]:
    replicas, pod = order.stage.replicas, _pod(order, platform)
    # Ranks that train together end together: the first pod that is lost, however it is, ends the attempt.
    whole = order.stage.nodes > 1
    judged = [MAIN, LOAD_MODEL] if pod.load_model else [MAIN]
    return {
        "completionMode": "Indexed",
        "completions": replicas,
        "parallelism": replicas,
        **({"backoffLimit": 0} if whole else {"backoffLimitPerIndex": platform.backoff_limit, "maxFailedIndexes": 0}),
        "activeDeadlineSeconds": platform.deadline_seconds,
        "ttlSecondsAfterFinished": order.spec.ttl_seconds_after_finished,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {
            "rules": [
                {"action": "FailJob" if whole else "Ignore", "onPodConditions": [{"type": DISRUPTED, "status": "True"}]},
                *({"action": "FailJob", "onExitCodes": _fatal_in(container)} for container in judged),
            ]
        },
        "template": {
            "metadata": {"labels": dict(labels), "annotations": {TASK_ANNOTATION: _task(order, platform)}},
            "spec": pod_spec(pod, platform, order.spec.scheduling),
        },
    }


def _fatal_in(container: str) -> dict[str, object]:
    return {"containerName": container, "operator": "In", "values": [int(code) for code in FATAL]}


def _task(order: Order, platform: Platform) -> str:
    task = Task(
        namespace=order.namespace,
        run=order.run,
        stage=order.stage.name,
        fingerprint=None if order.stage.kind is Kind.PREFLIGHT else order.fingerprint,
        spec=order.spec,
        inputs=dict(order.inputs or {}),
        seals=dict(order.seals or {}),
        rounds=order.rounds,
        slots=order.stage.replicas,
        store=platform.stores[order.spec.store],
        endpoint=_endpoint(order, platform),
        hub=platform.hub if order.stage.kind is Kind.FETCH else None,
        limits=platform.limits,
        train_pod=platform.train_pod,
        train_scratch=platform.train_scratch,
        scratch=platform.scratch,
        cpu_memory=platform.cpu_stage.memory,
    )
    return task.model_dump_json(by_alias=True)


def _pod(order: Order, platform: Platform) -> Pod:
    kind, store = order.stage.kind, store_keys(platform, order.spec.store)
    image = platform.images.trainer if kind in WITH_TORCH else platform.images.operator
    if kind is Kind.TRAIN:
        service = service_name(order.uid) if order.stage.nodes > 1 else None
        env = {**platform.trainer.env, **(first_pod(order.job, service) if service else {})}
        ranks = _devices(order, platform) // order.stage.nodes
        main = Container(MAIN, image, worker(kind), platform.train_pod, env, ranks, store)
        return Pod(main, platform.train_scratch, load_model(platform, store), subdomain=service)
    if kind in ENGINE_KINDS and order.stage.serving:
        served = served_model_name(order.stage, order.inputs or {}, order.known or {})
        env = {"ENGINE_PORT": str(platform.engine.port), "ENGINE_MODEL": served}
        main = Container(MAIN, image, worker(kind), platform.client_pod, env, secrets=store)
        return Pod(main, platform.scratch, load_model(platform, store), engine(order.stage.serving, served, platform))
    if kind is Kind.FETCH:
        hub = {"HF_ENDPOINT": platform.hub.url, "HF_HUB_OFFLINE": "0"}
        token = {"HF_TOKEN": SecretKey(platform.hub.secret, "HF_TOKEN")} if platform.hub.secret else {}
        main = Container(MAIN, image, worker(kind), platform.cpu_stage, hub, secrets=store | token)
        return Pod(main, platform.model_scratch)
    asked = endpoint_keys(platform, order.stage.endpoint.name) if order.stage.endpoint else {}
    return Pod(Container(MAIN, image, worker(kind), platform.cpu_stage, {}, secrets=store | asked), platform.scratch)


def _endpoint(order: Order, platform: Platform) -> EndpointConfig | None:
    return platform.endpoints[order.stage.endpoint.name] if order.stage.endpoint else None


def _devices(order: Order, platform: Platform) -> int:
    """Devices that all pods of the Job hold together."""
    if not platform.device.resource:
        return 0
    if order.stage.kind is Kind.TRAIN:
        return order.spec.training.processes_per_node * order.spec.training.nodes
    if order.stage.serving and order.stage.kind in ENGINE_KINDS:
        return order.stage.serving.tensor_parallel * order.stage.replicas
    return 0
