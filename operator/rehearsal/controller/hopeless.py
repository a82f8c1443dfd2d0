"""Jobs that the cluster would go on trying and that are given up, for an engine that dies or a replica that is evicted. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rehearsal.api.messages import ExitCode
from rehearsal.controller.ends import worn_out
from rehearsal.manifests.pod import ENGINE

MOST_STARTS = 3
"""Deaths of an engine before its first answer after which another start is not waited for: Kubernetes would restart it for ever."""


class Hopeless(NamedTuple):
    """Why a Job is given up that the cluster would go on trying: as it had ended with this code and these words."""

    exit_code: ExitCode
    words: str


def hopeless(pods: Sequence[Mapping[str, Any]], spec: Mapping[str, Any]) -> Hopeless | None:
    """Return why nothing comes of a Job with these pods, or None; `spec` is the Job's."""
    if crashes := _crashes(pods):
        return Hopeless(ExitCode.DEVICE, f"EngineUnusable: {crashes}")
    limit = spec.get("backoffLimitPerIndex")
    if limit is not None and (words := worn_out(pods, limit)):
        return Hopeless(ExitCode.KILLED, words)
    return None


def _crashes(pods: Sequence[Mapping[str, Any]]) -> str:
    """What an engine said last that dies at every start, or nothing. Where the client runs, it is the client's to judge."""
    for pod in pods:
        engine = next((c for c in pod["status"].get("initContainerStatuses") or [] if c["name"] == ENGINE), None)
        if engine and pod["status"].get("phase") == "Pending" and engine.get("restartCount", 0) >= MOST_STARTS:
            ended = (engine.get("lastState") or {}).get("terminated") or (engine.get("state") or {}).get("terminated") or {}
            lines = [line for line in str(ended.get("message") or "").splitlines() if line.strip()]
            last = f": {lines[-1].strip()[:300]}" if lines else ""
            return f"the engine died {engine['restartCount']} times at start, exit code {ended.get('exitCode')}{last}"
    return ""
