"""The written list of Job fields that processes honour. Any other field is refused by its path, never ignored.

A path names list items `[]` and ends in `.**` where everything below it is meant.
"""

import os
import re
from collections.abc import Iterator, Mapping

from rehearsal.api.quantity import quantity
from rehearsal.cluster.port import Invalid, Manifest

_POD = "spec.template.spec"
_RULE = "spec.podFailurePolicy.rules[]"
_DOWNWARD = f"{_POD}.volumes[].downwardAPI"

_OF_EVERY_CONTAINER = (
    "name",
    "command[]",
    "args[]",
    "env[].name",
    "env[].value",
    "env[].valueFrom.secretKeyRef.name",
    "env[].valueFrom.secretKeyRef.key",
    "ports[].containerPort",
    "ports[].name",
    "resources.requests.**",
    "resources.limits.**",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "volumeMounts[].name",
    "volumeMounts[].mountPath",
)

_OF_SIDECARS = (
    "restartPolicy",
    "startupProbe.exec.command[]",
    "startupProbe.httpGet.path",
    "startupProbe.httpGet.port",
    "startupProbe.initialDelaySeconds",
    "startupProbe.periodSeconds",
    "startupProbe.timeoutSeconds",
    "startupProbe.failureThreshold",
)

HONOURED = (
    "apiVersion",
    "kind",
    "metadata.name",
    "metadata.namespace",
    "metadata.labels.**",
    "metadata.annotations.**",
    "metadata.ownerReferences[].**",
    "spec.activeDeadlineSeconds",
    "spec.backoffLimit",
    "spec.backoffLimitPerIndex",
    "spec.completionMode",
    "spec.completions",
    "spec.parallelism",
    "spec.ttlSecondsAfterFinished",
    f"{_RULE}.action",
    f"{_RULE}.onExitCodes.containerName",
    f"{_RULE}.onExitCodes.operator",
    f"{_RULE}.onExitCodes.values[]",
    f"{_RULE}.onPodConditions[].type",
    f"{_RULE}.onPodConditions[].status",
    "spec.template.metadata.labels.**",
    "spec.template.metadata.annotations.**",
    f"{_POD}.restartPolicy",
    f"{_POD}.terminationGracePeriodSeconds",
    *(f"{_POD}.containers[].{leaf}" for leaf in _OF_EVERY_CONTAINER),
    *(f"{_POD}.initContainers[].{leaf}" for leaf in (*_OF_EVERY_CONTAINER, *_OF_SIDECARS)),
    f"{_POD}.volumes[].name",
    f"{_POD}.volumes[].emptyDir",
    f"{_DOWNWARD}.items[].path",
    f"{_DOWNWARD}.items[].fieldRef.fieldPath",
)

HONOURED_BY_NATURE: Mapping[str, str] = {
    "spec.podReplacementPolicy": "a pod is replaced only when its processes are gone",
    f"{_POD}.securityContext.**": "processes are the user's own and get no right they lack",
    f"{_POD}.serviceAccountName": "there is no API server to be known to",
    f"{_POD}.automountServiceAccountToken": "there is no token",
    f"{_POD}.enableServiceLinks": "there are no services",
    f"{_POD}.volumes[].emptyDir.sizeLimit": "the disk's own limit holds; a volume is never filled by another pod's leave",
    f"{_POD}.volumes[].emptyDir.medium": "the machine's own /dev/shm serves where memory is asked for; elsewhere a folder will do",
    f"{_DOWNWARD}.defaultMode": "the pod's folders are closed to other users as they are",
    f"{_DOWNWARD}.items[].fieldRef.apiVersion": "an annotation is one in any version",
    **{
        f"{_POD}.{kind}[].{leaf}": reason
        for kind in ("containers", "initContainers")
        for leaf, reason in {
            "image": "the command's own environment stands for every image",
            "imagePullPolicy": "nothing is pulled",
            "securityContext.**": "processes are the user's own and get no right they lack",
            "ports[].protocol": "ports are TCP on localhost",
            "volumeMounts[].readOnly": "it keeps honest programs from nothing they do",
        }.items()
    },
    f"{_POD}.initContainers[].startupProbe.httpGet.host": "everything listens on localhost",
    f"{_POD}.initContainers[].startupProbe.httpGet.scheme": "localhost is asked in plain HTTP",
    f"{_POD}.initContainers[].startupProbe.successThreshold": "Kubernetes allows 1 alone",
}

ONLY: Mapping[str, tuple[object, ...]] = {
    "apiVersion": ("batch/v1",),
    "kind": ("Job",),
    "spec.completionMode": ("Indexed", "NonIndexed"),
    "spec.maxFailedIndexes": (0,),
    "spec.podReplacementPolicy": ("Failed",),
    "spec.suspend": (False,),
    f"{_RULE}.action": ("FailJob", "Ignore", "Count"),
    f"{_RULE}.onExitCodes.operator": ("In", "NotIn"),
    f"{_RULE}.onPodConditions[].type": ("DisruptionTarget",),
    f"{_RULE}.onPodConditions[].status": ("True",),
    f"{_POD}.restartPolicy": ("Never",),
    f"{_POD}.nodeSelector": ({},),
    f"{_POD}.tolerations": ([],),
    f"{_POD}.affinity": ({},),
    f"{_POD}.imagePullSecrets": ([],),
    f"{_POD}.topologySpreadConstraints": ([],),
    f"{_POD}.initContainers[].restartPolicy": ("Always",),
    f"{_POD}.initContainers[].startupProbe.httpGet.scheme": ("HTTP",),
    **{f"{_POD}.{kind}[].terminationMessagePolicy": ("File", "FallbackToLogsOnError") for kind in ("containers", "initContainers")},
}
"""The values that are understood, where not every value is."""

ANNOTATION = re.compile(r"metadata\.annotations\['([^']+)'\]")
"""The one kind of field that a downwardAPI volume may show."""

_LISTED = {*HONOURED, *HONOURED_BY_NATURE, *ONLY}
_SUBTREES = tuple(path.removesuffix(".**") for path in _LISTED if path.endswith(".**"))
_BRANCHES = {path[: match.start()] for path in _LISTED for match in re.finditer(r"\.|\[\]", path)}


class UnsupportedField(Invalid):
    """A field, or a value of it, that processes cannot honour."""


def check(manifest: Manifest) -> None:
    """Raise UnsupportedField, naming the path, unless every field of the Job is honoured."""
    for path, pattern, value in _walk(manifest, "", ""):
        _check_field(path, pattern, value)
    _check_shape(manifest["spec"])
    _check_secrets(manifest["spec"]["template"]["spec"])


def _walk(value: object, path: str, pattern: str) -> Iterator[tuple[str, str, object]]:
    """Yield every field, each before what it holds."""
    if path:
        yield path, pattern, value
    if pattern in _SUBTREES:
        return
    if isinstance(value, dict):
        dot = "." if path else ""
        for key, item in value.items():
            yield from _walk(item, f"{path}{dot}{key}", f"{pattern}{dot}{key}")
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield from _walk(item, f"{path}[{position}]", f"{pattern}[]")


def _check_field(path: str, pattern: str, value: object) -> None:
    if pattern not in _LISTED and pattern not in _BRANCHES:
        raise UnsupportedField(f"{path}: not honoured by local processes")
    if pattern in ONLY and value not in ONLY[pattern]:
        allowed = " or ".join(map(repr, ONLY[pattern]))
        raise UnsupportedField(f"{path}: {value!r} is not honoured by local processes, only {allowed}")
    if pattern == f"{_DOWNWARD}.items[].fieldRef.fieldPath" and not ANNOTATION.fullmatch(str(value)):
        raise UnsupportedField(f"{path}: only metadata.annotations['…'] is honoured by local processes")
    if pattern.endswith((".requests", ".limits")) and isinstance(value, dict):
        _check_quantities(path, value)


def _check_quantities(path: str, amounts: Mapping[str, str]) -> None:
    for name, amount in amounts.items():
        try:
            quantity(amount)
        except (ArithmeticError, KeyError):
            raise UnsupportedField(f"{path}.{name}: {amount!r} is not a quantity") from None


def _check_secrets(pod: Manifest) -> None:
    """There are no Secrets: the command's own environment holds what a container takes from one, under the same name."""
    for kind in ("initContainers", "containers"):
        for position, container in enumerate(pod.get(kind, ())):
            for number, entry in enumerate(container.get("env", ())):
                if "valueFrom" in entry and not os.environ.get(entry["name"]):
                    secret = entry["valueFrom"]["secretKeyRef"]
                    raise UnsupportedField(
                        f"{_POD}.{kind}[{position}].env[{number}]: set {entry['name']} in the environment of this command: here it "
                        f"stands for key {secret['key']} of Secret {secret['name']}"
                    )


def _check_shape(spec: Manifest) -> None:
    """What only several fields together tell."""
    pod = spec["template"]["spec"]
    if "parallelism" in spec and "completions" not in spec:
        raise UnsupportedField("spec.completions: a work queue without a number of completions is not honoured by local processes")
    if ("backoffLimitPerIndex" in spec) != ("maxFailedIndexes" in spec):
        raise UnsupportedField("spec.maxFailedIndexes: 0, where backoffLimitPerIndex is given, and nowhere else, is honoured")
    if "backoffLimitPerIndex" in spec and spec.get("completionMode") != "Indexed":
        raise UnsupportedField("spec.backoffLimitPerIndex: only Indexed Jobs have it")
    if pod.get("restartPolicy") != "Never":
        raise UnsupportedField(f"{_POD}.restartPolicy: required, and Never")
    if len(pod["containers"]) != 1:
        raise UnsupportedField(
            f"{_POD}.containers: one main container is honoured by local processes, not {len(pod['containers'])}"
        )
    volumes = {volume["name"] for volume in pod.get("volumes", ())}
    for kind in ("initContainers", "containers"):
        for position, container in enumerate(pod.get(kind, ())):
            path = f"{_POD}.{kind}[{position}]"
            if not container.get("command"):
                raise UnsupportedField(f"{path}.command: required, there is no image to take it from")
            for number, mount in enumerate(container.get("volumeMounts", ())):
                if mount["name"] not in volumes:
                    raise UnsupportedField(f"{path}.volumeMounts[{number}].name: no volume is named {mount['name']!r}")
