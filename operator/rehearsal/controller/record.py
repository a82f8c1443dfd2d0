"""The status as the cluster holds it: written as a merge patch that carries its version, and only where it changed."""

from collections.abc import Mapping
from typing import Any

from rehearsal.api.status import RunStatus
from rehearsal.cluster.port import Cluster
from rehearsal.controller.bounds import bounded
from rehearsal.controller.observe import Run


class Record:
    """A run's status. `status`: what the cluster holds; `written`: whether it was changed here."""

    def __init__(self, cluster: Cluster, run: Run) -> None:
        self.status, self.written = run.status, False
        self._cluster, self._run = cluster, run
        self._stored, self._version = run.stored, run.resource_version

    async def write(self, status: RunStatus) -> None:
        """Make the status this one, cut to its bounds. A lost write (Conflict) is the caller's to retry."""
        status = bounded(status)
        if status == self.status:
            return
        patch = merge_patch(self._stored, wire(status))
        name, namespace = self._run.name, self._run.namespace
        item = await self._cluster.patch_status("ReconstructionRun", namespace, name, patch, self._version)
        self._stored, self._version = item.get("status") or {}, item["metadata"]["resourceVersion"]
        self.status, self.written = status, True


def wire(status: RunStatus) -> dict[str, Any]:
    """Return the status as it is stored."""
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


def merge_patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON merge patch (RFC 7396) that makes `after` of `before`: what is gone is null."""
    patch: dict[str, Any] = dict.fromkeys(before.keys() - after.keys())
    for key, value in after.items():
        old = before.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            patch[key] = merge_patch(old, value)
        elif value != old:
            patch[key] = value
    return patch
