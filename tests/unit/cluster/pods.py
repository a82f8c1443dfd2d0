"""Jobs and pods as the Job controller meets them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from rehearsal.cluster.stamps import stamp

START = datetime(2026, 1, 1, tzinfo=UTC)
UID = "11111111-0000-0000-0000-000000000000"


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def job(status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    made = {"metadata": {"name": "job", "namespace": "research", "uid": UID}, "spec": spec}
    return made | ({"status": status} if status else {})


def pod(phase: str = "Running", code: int | None = None, end: float = 0, index: int | None = None, **status: Any) -> dict[str, Any]:
    """A pod whose main container ended with that code, so many seconds after START."""
    metadata: dict[str, Any] = {"name": "pod", "namespace": "research", "creationTimestamp": stamp(START), "annotations": {}}
    if index is not None:
        metadata["annotations"]["batch.kubernetes.io/job-completion-index"] = str(index)
    state = {} if code is None else {"terminated": {"exitCode": code, "finishedAt": stamp(at(end))}}
    return {"metadata": metadata, "status": {"phase": phase, "containerStatuses": [{"name": "main", "state": state}], **status}}


def failed(code: int = 70, end: float = 0, **more: Any) -> dict[str, Any]:
    return pod("Failed", code, end, **more)


def succeeded(end: float = 0, **more: Any) -> dict[str, Any]:
    return pod("Succeeded", 0, end, **more)


def disrupted(**more: Any) -> dict[str, Any]:
    return failed(143, conditions=[{"type": "DisruptionTarget", "status": "True"}], **more)
