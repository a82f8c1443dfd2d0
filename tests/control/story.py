"""What played workers say when all goes well: preflight names every input, every other stage its seal. A run to play it with."""

import asyncio
import hashlib
from typing import Any

from rehearsal.api.messages import Termination
from rehearsal.api.status import RunStatus, StageStatus
from rehearsal.api.task import Task
from rehearsal.manifests.pod import TASK_ANNOTATION
from rehearsal.pipeline.fingerprint import fingerprints
from rehearsal.pipeline.sources import external_inputs
from rehearsal.pipeline.stages import stages_of
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


def a_measured_run(namespace: str, name: str = "medical", **changes: Any) -> Manifest:
    """A run of six stages: a short one that is evaluated before and after."""
    return a_run(namespace, name, **({"rehearsal": {}} | changes))


def last_word(task: Task) -> str:
    """What a stage's worker leaves when it has done its work."""
    if task.fingerprint is None:
        word = Termination(inputs=_inputs(task))
    else:
        word = Termination(fingerprint=task.fingerprint, manifest_digest=_digest(task.fingerprint), rows=100)
    return _json(word)


class Seals:
    """What played workers have sealed. Their preflight finds it again, as in a store."""

    def __init__(self) -> None:
        self._fingerprints: set[str] = set()

    def script(self, player: Player) -> Script:
        """The script of workers that do their work at once, and remember."""

        async def play(pod: Pod) -> None:
            await player.run(pod)
            await self.finish(player, pod)

        return play

    async def finish(self, player: Player, pod: Pod) -> None:
        """End a running pod as its worker does, its output sealed."""
        task = task_of(pod)
        if task.fingerprint is None:
            known = fingerprints(stages_of(task.spec), _inputs(task))
            found = {name: _digest(each) for name, each in known.items() if each in self._fingerprints}
            await player.finish(pod, message=_json(Termination(inputs=_inputs(task), sealed=found)))
        else:
            self._fingerprints.add(task.fingerprint)
            await player.finish(pod, message=last_word(task))


def only(script: Script, *stages: str) -> Script:
    """The same script, for the pods of these stages alone."""

    async def play(pod: Pod) -> None:
        if pod.stage in stages:
            await script(pod)

    return play


def all_goes_well(player: Player) -> Script:
    """The script of workers that do their work at once."""

    async def play(pod: Pod) -> None:
        await player.run(pod)
        await player.finish(pod, message=last_word(task_of(pod)))

    return play


async def pod_for(player: Player, run: str, stage: str, seconds: float = 120) -> Pod:
    """Wait for a live pod of a stage that works for this run."""
    async with asyncio.timeout(seconds):
        while not (found := [pod for pod in player.pods(stage) if pod.labels["rehearsal.dev/run"] == run]):
            await asyncio.sleep(0.05)
    return found[0]


def task_of(pod: Pod) -> Task:
    return Task.model_validate_json(pod.manifest["metadata"]["annotations"][TASK_ANNOTATION])


def status_of(plane: Plane, namespace: str, name: str = "medical") -> RunStatus:
    return RunStatus.model_validate(resource_of(plane, namespace, name).get("status") or {})


def resource_of(plane: Plane, namespace: str, name: str = "medical") -> Manifest:
    return plane.request("GET", f"/apis/rehearsal.dev/v1alpha1/namespaces/{namespace}/reconstructionruns/{name}")


def stage_of(plane: Plane, namespace: str, stage: str, name: str = "medical") -> StageStatus:
    """A stage's entry in the status; an empty one where there is none yet."""
    return status_of(plane, namespace, name).stage(stage) or StageStatus(name=stage)


def jobs_of(plane: Plane, namespace: str) -> list[Manifest]:
    return list(plane.request("GET", f"/apis/batch/v1/namespaces/{namespace}/jobs")["items"])


def uids_of(plane: Plane, namespace: str) -> dict[str, str]:
    """The stages of all Jobs by UID."""
    return {job["metadata"]["uid"]: job["metadata"]["labels"]["rehearsal.dev/stage"] for job in jobs_of(plane, namespace)}


async def complete(plane: Plane, run: Manifest) -> None:
    """Apply a run, and wait as a script would: until it is Complete as it is now written."""
    plane.apply([run])
    name, namespace = run["metadata"]["name"], run["metadata"]["namespace"]
    wait = ("wait", "--for=condition=Complete", f"reconstructionrun/{name}", f"--namespace={namespace}", "--timeout=240s")
    await asyncio.to_thread(plane.kubectl, *wait)


async def played_up_to(stage: str, seals: Seals, player: Player) -> Pod:
    """Do the work of the stages before this one, and return this one's pod, which runs."""
    for earlier in SHORT[: SHORT.index(stage)]:
        await seals.script(player)(await player.pod_of(earlier))
    await player.run(pod := await player.pod_of(stage))
    return pod


async def wait_for(plane: Plane, namespace: str, condition: str, name: str = "medical", within: float = 240) -> RunStatus:
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


def _inputs(task: Task) -> dict[str, str]:
    return {name: _digest(uri) for name, uri in external_inputs(task.spec).items()}


def _json(word: Termination) -> str:
    return word.model_dump_json(by_alias=True, exclude_defaults=True)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
