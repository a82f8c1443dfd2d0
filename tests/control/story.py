"""What played workers say when all goes well: preflight names every input, every other stage its seal. A run to play it with."""

import hashlib
from typing import Any

from rehearsal.api.messages import Termination
from rehearsal.api.status import RunStatus
from rehearsal.api.task import Task
from rehearsal.manifests.pod import TASK_ANNOTATION
from rehearsal.pipeline.sources import external_inputs
from tests.control.access import Manifest
from tests.control.given import Plane
from tests.control.operator_process import eventually
from tests.control.player import Player, Script
from tests.control.pod_status import Pod


def a_run(namespace: str, name: str = "medical", **changes: Any) -> Manifest:
    """A run with a committee of two and one evaluation task, as it is applied; changes replace whole blocks of the spec."""
    members = [{"name": "base", "base": True}, {"name": "peer", "model": {"uri": "store://peer"}}]
    spec = {
        "baseModel": {"uri": "store://base"},
        "rehearsal": {"reconstructed": {"count": 100, "committee": {"members": members}}},
        "domain": {"uri": "store://domain.jsonl"},
        "evaluation": {"tasks": [{"name": "general", "uri": "store://eval/general.yaml"}]},
        **changes,
    }
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "rehearsal.dev/v1alpha1", "kind": "ReconstructionRun", "metadata": metadata, "spec": spec}


def a_short_run(namespace: str, name: str = "medical", **changes: Any) -> Manifest:
    """A run of four stages, one after the other: preflight, mix, train, report."""
    return a_run(namespace, name, **({"rehearsal": {}, "evaluation": {}} | changes))


SHORT = ("preflight", "mix", "train", "report")


def last_word(task: Task) -> str:
    """What a stage's worker leaves when it has done its work."""
    if task.fingerprint is None:
        word = Termination(inputs={name: _digest(uri) for name, uri in external_inputs(task.spec).items()})
    else:
        word = Termination(fingerprint=task.fingerprint, manifest_digest=_digest(task.fingerprint), rows=100)
    return word.model_dump_json(by_alias=True, exclude_defaults=True)


def all_goes_well(player: Player) -> Script:
    """The script of workers that do their work at once."""

    async def play(pod: Pod) -> None:
        await player.run(pod)
        await player.finish(pod, message=last_word(task_of(pod)))

    return play


def task_of(pod: Pod) -> Task:
    return Task.model_validate_json(pod.manifest["metadata"]["annotations"][TASK_ANNOTATION])


def status_of(plane: Plane, namespace: str, name: str = "medical") -> RunStatus:
    return RunStatus.model_validate(resource_of(plane, namespace, name).get("status") or {})


def resource_of(plane: Plane, namespace: str, name: str = "medical") -> Manifest:
    return plane.request("GET", f"/apis/rehearsal.dev/v1alpha1/namespaces/{namespace}/reconstructionruns/{name}")


def jobs_of(plane: Plane, namespace: str) -> list[Manifest]:
    return list(plane.request("GET", f"/apis/batch/v1/namespaces/{namespace}/jobs")["items"])


async def wait_for(plane: Plane, namespace: str, condition: str, name: str = "medical", within: float = 60) -> RunStatus:
    """Wait until a run has this condition, and return its status."""

    def is_so() -> bool:
        found = status_of(plane, namespace, name).condition(condition)
        return found is not None and found.status == "True"

    try:
        await eventually(is_so, within, f"{name} is {condition}")
    except AssertionError as late:
        found = status_of(plane, namespace, name)
        raise AssertionError(f"{late}; {[(stage.name, stage.state, stage.message) for stage in found.stages]}") from None
    return status_of(plane, namespace, name)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
