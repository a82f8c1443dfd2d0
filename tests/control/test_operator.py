"""The operator as a real process against a real API server: from apply to Complete, deletion, hands that meddle. Pods are played."""

import asyncio

import pytest

from rehearsal.api.status import State
from tests.control.access import Refused
from tests.control.given import Plane
from tests.control.operator_process import RULES, Operator, eventually, grant, without
from tests.control.player import Player
from tests.control.pod_status import Pod
from tests.control.story import SHORT, a_run, a_short_run, all_goes_well, jobs_of, resource_of, status_of, wait_for

pytestmark = pytest.mark.control


def stages_with_jobs(plane: Plane, namespace: str) -> list[str]:
    return sorted(job["metadata"]["labels"]["rehearsal.dev/stage"] for job in jobs_of(plane, namespace))


async def test_a_run_goes_from_apply_to_complete(served: Plane, namespace: str, operator: Operator, player: Player) -> None:
    async with player.playing(all_goes_well(player)):
        served.apply([a_run(namespace)])
        wait = ("wait", "--for=condition=Complete", "reconstructionrun/medical", f"--namespace={namespace}", "--timeout=240s")
        await asyncio.to_thread(served.kubectl, *wait)
    status = status_of(served, namespace)
    assert {stage.state for stage in status.stages} == {State.SUCCEEDED}
    assert stages_with_jobs(served, namespace) == sorted(stage.name for stage in status.stages)
    metadata = resource_of(served, namespace)["metadata"]
    assert "finalizers" not in metadata
    assert not [name for name in metadata.get("annotations", {}) if "kopf" in name]

    await eventually(lambda: operator.metric("rehearsal_runs", condition="Complete") == 1, 60, "the metrics say Complete")
    assert operator.metric("rehearsal_stages_total", state="Succeeded") == len(status.stages)
    assert operator.metric("rehearsal_errors_total") == 0
    assert operator.metric("rehearsal_api_calls_total") <= 6 * len(status.stages)
    assert operator.get("/healthz")[0] == 200


async def test_told_to_end_the_operator_ends_well_and_soon(operator: Operator) -> None:
    operator.tell_to_end()
    assert await asyncio.to_thread(operator.exit_code, 30) == 0
    assert not [word for word in ("Traceback", "CRITICAL", "cut short") if word in operator.log]


@pytest.mark.fault(16)
async def test_a_run_deleted_in_the_middle_takes_its_jobs_with_it(
    served: Plane, namespace: str, operator: Operator, player: Player
) -> None:
    served.apply([a_short_run(namespace)])
    for stage in SHORT[:2]:
        await player.run(pod := await player.pod_of(stage))
        await all_goes_well(player)(pod)
    await player.run(await player.pod_of("train"))
    served.kubectl("delete", "reconstructionrun/medical", f"--namespace={namespace}", "--timeout=60s")
    await eventually(lambda: not jobs_of(served, namespace), 60, "the Jobs are collected")
    await eventually(lambda: operator.metric("rehearsal_reconciles_total", result="gone") >= 1, 60, "the operator knows")
    assert operator.metric("rehearsal_api_calls_total", verb="create", kind="Job") == 3
    assert operator.metric("rehearsal_runs", condition="Reconciling") == 0


@pytest.mark.fault(20)
async def test_a_job_deleted_by_hand_is_made_again_and_those_of_a_finished_run_are_not_missed(
    served: Plane, namespace: str, operator: Operator, player: Player
) -> None:
    served.apply([a_short_run(namespace)])
    for stage in SHORT[:2]:
        await all_goes_well(player)(await player.pod_of(stage))
    lost = await player.pod_of("train")
    await player.run(lost)
    served.kubectl("delete", "job", lost.job, f"--namespace={namespace}", "--wait=false")
    await eventually(lambda: uid_of(served, namespace, lost.job) not in ("", job_uid_of(lost)), 60, "another Job is there")
    async with player.playing(all_goes_well(player)):
        before = await wait_for(served, namespace, "Complete")
    visits = operator.metric("rehearsal_reconciles_total")
    served.kubectl("delete", "jobs", "--all", f"--namespace={namespace}")
    await eventually(lambda: operator.metric("rehearsal_reconciles_total") > visits, 60, "the deletions are seen")
    assert jobs_of(served, namespace) == []
    assert status_of(served, namespace).stages == before.stages


@pytest.mark.fault(15)
async def test_a_right_that_is_missing_is_named_and_other_runs_go_on(
    served: Plane, namespace: str, operator: Operator, player: Player
) -> None:
    grant(served, namespace, without(RULES, "jobs", "delete"))
    served.apply([a_short_run(namespace, "stuck")])
    await player.run(await player.pod_of("preflight"))
    served.apply([a_short_run(namespace, "stuck", suspend=True)])
    status = await wait_for(served, namespace, "Stalled", "stuck")
    condition = status.condition("Stalled")
    assert condition
    assert condition.reason == "Forbidden"
    assert "may not delete Job" in condition.message

    async with player.playing(all_goes_well(player)):
        served.apply([a_short_run(namespace, "other", seed=7)])
        await wait_for(served, namespace, "Complete", "other")
    assert operator.metric("rehearsal_errors_total", kind="Forbidden") >= 1
    assert operator.log.count("stuck: Forbidden") == 1
    grant(served, namespace, RULES)
    await wait_for(served, namespace, "Suspended", "stuck", within=70)


def uid_of(plane: Plane, namespace: str, job: str) -> str:
    """The UID of a Job that is not being deleted; empty when there is none."""
    try:
        metadata = plane.request("GET", f"/apis/batch/v1/namespaces/{namespace}/jobs/{job}")["metadata"]
    except Refused:
        return ""
    return "" if "deletionTimestamp" in metadata else metadata["uid"]


def job_uid_of(pod: Pod) -> str:
    return str(pod.manifest["metadata"]["ownerReferences"][0]["uid"])
