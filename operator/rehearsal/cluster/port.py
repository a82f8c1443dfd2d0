"""The port of a cluster: the few calls that a reconcile needs, over plain manifests as Kubernetes writes them in JSON.

ClusterError
├── NotFound        no object of that kind, namespace and name
├── AlreadyExists   the name is taken
├── Conflict        the object changed since it was read, or is another one of the same name: read again
├── Forbidden       the cluster understood and refuses
├── Invalid         the manifest is refused; the text starts with the path of the field
└── Unavailable     the cluster did not answer; the call may or may not have taken effect: try again
"""

from collections.abc import Mapping
from typing import Any, Protocol

Manifest = dict[str, Any]
Manifests = list[Manifest]

API_VERSIONS: Mapping[str, str] = {
    "Job": "batch/v1",
    "Pod": "v1",
    "Event": "v1",
    "Service": "v1",
    "ReconstructionRun": "rehearsal.dev/v1alpha1",
    "Workload": "kueue.x-k8s.io/v1beta2",
}
"""The kinds that a cluster is asked about. Not every cluster has Kueue: without it, it holds no Workloads."""


class ClusterError(Exception):
    """A call to the cluster did not do what was asked."""


class NotFound(ClusterError):
    """There is no such object."""


class AlreadyExists(ClusterError):
    """An object of that kind and name exists."""


class Conflict(ClusterError):
    """The object is not the one, or not the version, that the caller knows."""


class Forbidden(ClusterError):
    """The caller may not do this."""


class Invalid(ClusterError):
    """The manifest is refused: the text starts with the path of the field."""


class Unavailable(ClusterError):
    """The cluster did not answer in time, or cannot work. `retry_after`: the seconds for which it asked to be left alone."""

    def __init__(self, text: str, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class Cluster(Protocol):
    """What is returned is the caller's own copy. Every call may raise Forbidden and Unavailable."""

    async def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """Return the object, or None."""
        ...

    async def list(self, kind: str, namespace: str | None, labels: Mapping[str, str]) -> Manifests:
        """Return the objects of a namespace (None: of all) that carry all these labels, oldest first."""
        ...

    async def create(self, manifest: Manifest) -> Manifest:
        """Create the object and return it as stored, or raise AlreadyExists or Invalid."""
        ...

    async def delete(self, kind: str, namespace: str, name: str, uid: str) -> None:
        """Delete the object of that UID, and in the background what it owns. One that is gone is fine; another UID is a Conflict.

        A Job's pods end within their grace period and are listed, with a deletionTimestamp, until they have ended.
        """
        ...

    async def patch_status(self, kind: str, namespace: str, name: str, status: Manifest, resource_version: str) -> Manifest:
        """Apply a JSON merge patch to the status (null removes a key, lists are replaced whole) and return the object.

        Raises NotFound, and Conflict when the object is no longer at that resourceVersion.
        """
        ...

    async def pods(self, namespace: str, job_uid: str) -> Manifests:
        """Return the pods that the Job of that UID controls, oldest first."""
        ...

    async def events(self, namespace: str, uid: str) -> Manifests:
        """Return the events about the object of that UID, oldest first. Only recent ones are kept."""
        ...

    async def emit(self, event: Manifest) -> None:
        """Record an event: a core/v1 Event; its name is made up when it has none."""
        ...

    async def log_tail(self, namespace: str, pod: str, container: str, lines: int) -> str:
        """Return the last lines of a container's log; empty before it has started. Raises NotFound without such a pod."""
        ...
