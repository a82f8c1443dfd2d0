"""Builders of the things that control tests talk about: a spec, a platform, a run, a Job as seen."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from rehearsal.api.messages import Termination
from rehearsal.api.platform import Platform
from rehearsal.api.run import RunSpec
from rehearsal.api.status import RunStatus
from rehearsal.controller.jobs import JobState, JobView
from rehearsal.controller.observe import Observation, Run
from rehearsal.controller.plan import Plan, decide
from rehearsal.controller.world import inputs_key
from rehearsal.manifests.jobs import LABEL

NOON = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
INPUTS = {"baseModel": "b" * 64, "model-peer": "c" * 64, "domain": "d" * 64, "task-general": "e" * 64}


def a_spec(**changes: Any) -> dict[str, Any]:
    """A run with two members and one evaluation task, as written; changes replace whole blocks."""
    members = [{"name": "base", "base": True}, {"name": "peer", "model": {"uri": "store://peer"}}]
    return {
        "baseModel": {"uri": "store://base"},
        "rehearsal": {"reconstructed": {"count": 100, "committee": {"members": members}}},
        "domain": {"uri": "store://domain.jsonl"},
        "evaluation": {"tasks": [{"name": "general", "uri": "store://eval/general.yaml"}]},
        **changes,
    }


def parsed(**changes: Any) -> RunSpec:
    return RunSpec.model_validate(a_spec(**changes))


def a_platform(**changes: Any) -> Platform:
    return Platform.model_validate({"stores": {"default": {"folder": {"path": "/store"}}}, "progressSeconds": 30, **changes})


def a_run(spec: object | None = None, status: RunStatus | None = None, **changes: Any) -> Run:
    known: dict[str, Any] = {
        "namespace": "research",
        "name": "medical",
        "uid": "0000-1111",
        "generation": 1,
        "resource_version": "1",
        "deleting": False,
        "spec": a_spec() if spec is None else spec,
        "request": "",
        "status": status or RunStatus(),
    }
    return Run(**(known | changes))


def as_seen(manifest: dict[str, Any], state: JobState = JobState.RUNNING, **changes: Any) -> JobView:
    """The Job of a manifest, as an observation shows it."""
    metadata = manifest["metadata"]
    annotations = metadata["annotations"]
    known: dict[str, Any] = {
        "name": metadata["name"],
        "uid": f"uid-{metadata['name']}",
        "run": metadata["ownerReferences"][0]["name"],
        "run_uid": metadata["labels"][f"{LABEL}/run-uid"],
        "stage": metadata["labels"][f"{LABEL}/stage"],
        "fingerprint": annotations[f"{LABEL}/fingerprint"],
        "attempt": int(annotations[f"{LABEL}/attempt"]),
        "execution": annotations[f"{LABEL}/execution"],
        "supplies": annotations[f"{LABEL}/supplies"],
        "devices": int(annotations[f"{LABEL}/devices"]),
        "store": metadata["labels"][f"{LABEL}/store"],
        "endpoint": metadata["labels"].get(f"{LABEL}/endpoint", ""),
        "state": state,
        "created_at": "2026-01-01T11:00:00Z",
        "activated_at": "2026-01-01T11:00:00Z",
        "deadline": manifest["spec"]["activeDeadlineSeconds"],
        "started_at": "2026-01-01T11:00:00Z",
        "finished_at": None if state.live else "2026-01-01T11:30:00Z",
    }
    return JobView(**(known | changes))


def sealed_by(manifest: dict[str, Any], digest: str = "f" * 64) -> JobView:
    fingerprint = manifest["metadata"]["annotations"][f"{LABEL}/fingerprint"]
    return as_seen(manifest, JobState.COMPLETE, termination=Termination(fingerprint=fingerprint, manifest_digest=digest, rows=5))


def preflight_done(manifest: dict[str, Any], sealed: dict[str, str] | None = None) -> JobView:
    return as_seen(manifest, JobState.COMPLETE, termination=Termination(inputs=INPUTS, sealed=sealed or {}))


def pinned(run: Run, **found: str) -> RunStatus:
    """The status of a run whose preflight has answered, its stages recorded."""
    status = RunStatus(inputs=INPUTS, inputs_key=inputs_key(run), found=found)
    return decide(Observation(replace(run, status=status), ()), a_platform(), NOON).status


def seen(run: Run, *jobs: JobView) -> Observation:
    return Observation(run, jobs)


def created(plan: Plan) -> list[str]:
    """The stages whose Jobs a plan creates."""
    jobs: list[Any] = [manifest for manifest in plan.create if manifest["kind"] == "Job"]
    return [job["metadata"]["labels"][f"{LABEL}/stage"] for job in jobs]
