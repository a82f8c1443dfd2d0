"""What a stopped command loses: rows in the making, by stage, in the words of the workers that were told to end."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rehearsal.cluster.logs import Logs
from rehearsal.cluster.port import Cluster
from rehearsal.controller.progress_lines import LOG_LINES, last_progress
from rehearsal.manifests.jobs import LABEL
from rehearsal.manifests.pod import MAIN
from rehearsal.pipeline.stage import Kind

SAMPLED = (Kind.ELICIT, Kind.RESPOND, Kind.JUDGE)
GOES_ON: Mapping[str, str] = {
    Kind.TRAIN: "goes on from its last checkpoint",
    Kind.EVALUATE: "asks the task that it was at anew",
    Kind.FETCH: "brings the file that it was at anew",
}
"""What of a stage's work is lost that has no rows in the making."""


class Interrupted(Exception):
    """The command was told to end; the text says what is not kept."""

    def __init__(self, lost: Sequence[str]) -> None:
        told = f"{'; '.join(lost)}. " if lost else ""
        super().__init__(f"Interrupted. {told}What is committed is kept: the same command goes on from there.")


class Working(NamedTuple):
    """A pod that was at work when the command was told to end."""

    stage: str
    kind: str
    pod: str


async def at_work(cluster: Cluster, namespace: str) -> list[Working]:
    """Return the pods at work, in the order they were made."""
    pods = (pod for pod in await cluster.list("Pod", namespace, {}) if pod["status"].get("phase") == "Running")
    return [
        Working(pod["metadata"]["labels"][f"{LABEL}/stage"], pod["metadata"]["labels"][f"{LABEL}/kind"], pod["metadata"]["name"])
        for pod in pods
    ]


def not_kept(state: Path, working: Sequence[Working]) -> list[str]:
    """Return what each stage loses whose pods were at work, once they have ended."""
    logs = Logs(state / "logs")
    by_stage: dict[str, list[Working]] = {}
    for pod in working:
        by_stage.setdefault(pod.stage, []).append(pod)
    return [_lost(stage, pods, logs) for stage, pods in by_stage.items()]


def _lost(stage: str, pods: Sequence[Working], logs: Logs) -> str:
    if (kind := pods[0].kind) not in SAMPLED:
        return f"{stage} {GOES_ON.get(kind, 'begins anew')}"
    last = [progress for pod in pods if (progress := last_progress(logs.tail(pod.pod, MAIN, LOG_LINES) or ""))]
    if not last:
        return f"{stage} had begun no row"
    if any(progress.dropped is None for progress in last):
        return f"{stage} was killed before it could say how many rows it had in the making; they are not kept"
    dropped, total = sum(progress.dropped or 0 for progress in last), max(progress.total for progress in last)
    return f"{stage}: {dropped} of {total} rows were in the making and are not kept"
