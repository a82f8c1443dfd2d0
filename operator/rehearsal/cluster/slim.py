"""What a mirror keeps of an object, and how it is packed: what `observe` and `act` read, and all labels, to select by.

A pod is some 15 kB as a server writes it and 0.7 kB here; a run of thirteen stages with its Jobs and pods takes 35 kB in all.
"""

import json
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from rehearsal.cluster.port import Manifest
from rehearsal.outside.json_text import read_own_json

_PREFIX = "rehearsal.dev/"
_METADATA = ("name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "labels")
_POD_STATUS = ("phase", "reason", "message", "startTime", "conditions")
_CONTAINER = ("name", "state", "lastState", "ready", "started", "restartCount")
_WINDOW = -13
"""Raw deflate with a window of 8 kB, more than most objects: the default of 32 kB takes longer to set up than to use."""


def slim(item: Manifest) -> Manifest:
    """Return what is kept of a Job, a Pod or a ReconstructionRun."""
    kept = {key: item[key] for key in ("apiVersion", "kind")}
    match item["kind"]:
        case "Job":
            metadata = _only(item["metadata"], (*_METADATA, "ownerReferences"))
            annotations = item["metadata"].get("annotations") or {}
            metadata["annotations"] = {key: value for key, value in annotations.items() if key.startswith(_PREFIX)}
            return kept | {
                "metadata": metadata,
                "spec": _only(item["spec"], ("activeDeadlineSeconds", "backoffLimitPerIndex", "completions", "suspend")),
                "status": item.get("status") or {},
            }
        case "Pod":
            metadata = _only(item["metadata"], (*_METADATA, "ownerReferences"))
            return kept | {"metadata": metadata, "spec": _only(item["spec"], ("nodeName",)), "status": _pod_status(item)}
    metadata = {key: value for key, value in item["metadata"].items() if key != "managedFields"}
    if "annotations" in metadata:
        applied = "kubectl.kubernetes.io/last-applied-configuration"
        metadata["annotations"] = {key: value for key, value in metadata["annotations"].items() if key != applied}
    return item | {"metadata": metadata}


def pack(item: Manifest) -> bytes:
    """Return a few hundred bytes that are the object."""
    packer = zlib.compressobj(level=3, wbits=_WINDOW, memLevel=6, zdict=_DICTIONARY)
    return packer.compress(json.dumps(item, separators=(",", ":")).encode()) + packer.flush()


def unpack(packed: bytes) -> Manifest:
    """Return a new copy of the object that was packed."""
    item: Manifest = read_own_json(zlib.decompressobj(wbits=_WINDOW, zdict=_DICTIONARY).decompress(packed))
    return item


def _pod_status(pod: Manifest) -> Manifest:
    status = pod.get("status") or {}
    containers = {
        kind: [_only(container, _CONTAINER) for container in status[kind]]
        for kind in ("initContainerStatuses", "containerStatuses")
        if status.get(kind)
    }
    return _only(status, _POD_STATUS) | containers


def _only(fields: Mapping[str, Any], wanted: Iterable[str]) -> Manifest:
    return {key: fields[key] for key in wanted if key in fields}


_CONDITIONS = (
    '"conditions":[{"type":"SuccessCriteriaMet","status":"True","lastProbeTime":"2026-01-01T00:00:00Z","lastTransitionTime":"2026-',
    '"reason":"CompletionsReached","message":"Reached expected number of succeeded pods"},{"type":"Complete","status":"True",',
    '{"type":"Failed","reason":"BackoffLimitExceeded","message":"Job has reached the specified backoff limit"},"PodFailurePolicy",',
    '{"type":"PodReadyToStartContainers","status":"False","lastProbeTime":null,"lastTransitionTime":"2026-","observedGeneration":1},',
    '{"type":"Initialized","status":"True","reason":"PodCompleted"},{"type":"Ready"},{"type":"ContainersReady"},{"type":"PodScheduled"',
)
_STATUS = (
    '"status":{"startTime":"2026-","completionTime":"2026-","succeeded":1,"failed":0,"active":1,"completedIndexes":"0",',
    '"terminating":0,"uncountedTerminatedPods":{},"ready":0}}"status":{"phase":"Pending","phase":"Running","phase":"Succeeded",',
    '"initContainerStatuses":[{"name":"load-model","state":{"terminated":{"exitCode":0,"reason":"Completed","startedAt":"2026-',
    '","finishedAt":"2026-"}},"lastState":{},"ready":true,"started":true,"restartCount":0},{"name":"engine","state":{"running":{',
    '"startedAt":"2026-"}},"lastState":{},"ready":false,"started":false,"restartCount":0}],"containerStatuses":[{"name":"main",',
    '"state":{"terminated":{"exitCode":0,"reason":"Completed","message":"{\\"promptTokens\\":,\\"completionTokens\\":,\\"sha256:',
)
_STAGE = (
    '{"name":"evaluate-","state":"Succeeded","fingerprint":"","parts":{},"reason":"","message":"","sealed":{"fingerprint":"',
    '","manifestDigest":"sha256:"},"attempt":0,"job":"","done":0,"total":0,"unit":"rows","perSecond":0.0,"tokensPerSecond":0.0,',
    '"refused":{},"facts":{},"startedAt":"2026-","finishedAt":"2026-","usage":{"promptTokens":0,"completionTokens":0},"gpuSeconds":0.0}',
)
_HEAD = (
    '"ownerReferences":[{"apiVersion":"rehearsal.dev/v1alpha1","kind":"ReconstructionRun","name":"","uid":"","controller":true,',
    '"blockOwnerDeletion":false}],"annotations":{"rehearsal.dev/fingerprint":"","rehearsal.dev/attempt":"0","rehearsal.dev/execution":"',
    "platform.clientPod= platform.cpuStage= platform.device= platform.engine= platform.enginePod= platform.limits= platform.modelScratch= ",
    "platform.scratch= platform.serviceAccount= platform.sharedMemory= platform.stores= queueName= scheduling= serving=",
    '","rehearsal.dev/supplies":"platform.backoffLimit= platform.deadlineSeconds= platform.images=",',
    '"rehearsal.dev/devices":"0"}},"spec":{"suspend":false},',
    '"ownerReferences":[{"apiVersion":"batch/v1","kind":"Job","name":"',
    '"controller":true,"blockOwnerDeletion":true}]},"spec":{"nodeName":"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"',
    '"batch.kubernetes.io/controller-uid":"","batch.kubernetes.io/job-completion-index":"0","batch.kubernetes.io/job-name":"',
    '"controller-uid":"","job-name":"{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"","namespace":"","uid":"',
    '"resourceVersion":"","generation":1,"creationTimestamp":"2026-","labels":{"app.kubernetes.io/managed-by":"rehearsal",',
    '"app.kubernetes.io/version":"0.1.0","rehearsal.dev/run":"","rehearsal.dev/run-uid":"","rehearsal.dev/stage":"',
    '"rehearsal.dev/store":"default","rehearsal.dev/fingerprint":"',
)
_DICTIONARY = "".join((*_STAGE, *_CONDITIONS, *_STATUS, *_HEAD)).encode()
"""What most objects say, for the packer to point at. Any other words are right too, they only cost more."""
