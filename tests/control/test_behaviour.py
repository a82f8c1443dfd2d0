"""What a person may do to a run, with the operator as a real process: edit, retry, rerun, suspend, delete, create again, look."""

import asyncio
import re
from datetime import UTC, datetime, timedelta

import pytest

from rehearsal.api.messages import ExitCode
from rehearsal.api.status import State
from rehearsal.cluster.stamps import stamp
from rehearsal.controller.observe import read_run
from rehearsal.controller.world import inputs_key
from tests.control.api import STRATEGIC
from tests.control.given import Plane
from tests.control.operator_process import Operator, eventually
from tests.control.player import Player
from tests.control.story import (
    SHORT,
    Seals,
    a_measured_run,
    a_short_run,
    complete,
    jobs_of,
    only,
    played_up_to,
    resource_of,
    stage_of,
    status_of,
    uids_of,
    wait_for,
)

pytestmark = pytest.mark.control


async def test_an_edit_runs_exactly_what_it_changes_and_says_which_field(
    served: Plane, namespace: str, operator: Operator, player: Player
) -> None:
    async with player.playing(Seals().script(player)):
        await complete(served, a_measured_run(namespace))
        first, version = uids_of(served, namespace), version_of(served, namespace)
        served.apply([a_measured_run(namespace)])
        assert version_of(served, namespace) == version

        await complete(served, a_measured_run(namespace, training={"learningRate": 1e-5}))
        edited = uids_of(served, namespace)
        assert edited.items() >= first.items()
        assert sorted(edited[uid] for uid in edited.keys() - first.keys()) == ["evaluate-tuned", "preflight", "report", "train"]
        assert stage_of(served, namespace, "train").reason == "spec.training.learningRate changed"
        assert stage_of(served, namespace, "evaluate-tuned").reason == "stage train changed"

        await complete(served, a_measured_run(namespace, training={"learningRate": 1e-5}, rerun="once more"))
    again = uids_of(served, namespace)
    drawn = ["evaluate-tuned", "mix", "preflight", "report", "train"]
    assert sorted(again[uid] for uid in again.keys() - edited.keys()) == drawn
    assert stage_of(served, namespace, "mix").reason == "spec.rerun changed"
    untouched = stage_of(served, namespace, "evaluate-base")
    assert untouched.sealed
    assert operator.metric("rehearsal_api_calls_total", verb="create", kind="Job") == 6 + 4 + 5


async def test_a_failure_stays_until_retry_says_another_word(
    served: Plane, namespace: str, operator: Operator, player: Player
) -> None:
    seals = Seals()
    served.apply([a_short_run(namespace)])
    async with player.playing(only(seals.script(player), "preflight", "mix", "report")):
        await player.run(pod := await player.pod_of("train"))
        await player.finish(pod, ExitCode.TOO_MANY_REFUSED, '{"reason": "NotFinite", "message": "the loss is nan at step 7"}')
        status = await wait_for(served, namespace, "Failed")
        assert (condition := status.condition("Stalled"))
        assert condition.message == "train: NotFinite: the loss is nan at step 7"
        assert status.summary == "train: Failed"
        assert stage_of(served, namespace, "train").exit_code == ExitCode.TOO_MANY_REFUSED

        served.apply([a_short_run(namespace, retry="with hope")])
        again = await player.pod_of("train")
        assert again.job != pod.job
        await player.run(again)
        await seals.finish(player, again)
        status = await wait_for(served, namespace, "Complete")
    assert sorted(uids_of(served, namespace).values()) == sorted([*SHORT, "preflight", "train"])
    assert (condition := status.condition("Failed"))
    assert condition.status == "False"


async def test_suspended_in_mid_run_it_frees_its_gpus_keeps_its_usage_and_resumes_where_it_was(
    served: Plane, namespace: str, operator: Operator, player: Player
) -> None:
    seals = Seals()
    served.apply([a_short_run(namespace)])
    pod = await played_up_to("train", seals, player)
    await player.api.patch(f"{pod.path}/status", {"status": {"startTime": hours_ago(2)}}, STRATEGIC)
    await eventually(lambda: stage_of(served, namespace, "train").state is State.RUNNING, 60, "train runs")
    done = uids_of(served, namespace)

    served.apply([a_short_run(namespace, suspend=True)])
    status = await wait_for(served, namespace, "Suspended")
    await player.gone(pod)
    assert status.usage.gpu_hours == pytest.approx(2 * 8, rel=0.05)
    assert status.summary == "Suspended"
    await eventually(lambda: "train" not in uids_of(served, namespace).values(), 60, "its Job is gone")

    async with player.playing(seals.script(player)):
        served.apply([a_short_run(namespace, suspend=False)])
        status = await wait_for(served, namespace, "Complete")
    kept = {uid for uid, stage in done.items() if stage != "train"}
    resumed = uids_of(served, namespace)
    assert sorted(resumed[uid] for uid in resumed.keys() - kept) == ["preflight", "report", "train"]
    assert status.usage.gpu_hours == pytest.approx(2 * 8, rel=0.05)


@pytest.mark.fault(16)
async def test_deleted_in_any_stage_a_run_takes_its_jobs_with_it_and_makes_no_more(
    served: Plane, namespace: str, operator: Operator, player: Player
) -> None:
    for number, stage in enumerate(SHORT):
        served.apply([a_short_run(namespace, f"until-{stage}", seed=number)])
        pod = await played_up_to(stage, Seals(), player)
        served.kubectl("delete", f"reconstructionrun/until-{stage}", f"--namespace={namespace}", "--timeout=60s")
        await player.gone(pod)
        await eventually(lambda: not jobs_of(served, namespace), 60, "the Jobs are collected")
    gone = len(SHORT)
    await eventually(lambda: operator.metric("rehearsal_reconciles_total", result="gone") >= gone, 60, "the operator knows")
    assert operator.metric("rehearsal_api_calls_total", verb="create", kind="Job") == 1 + 2 + 3 + 4
    assert operator.metric("rehearsal_errors_total") == 0


@pytest.mark.fault(17)
async def test_created_again_under_its_name_a_run_has_jobs_of_its_own_and_reuses_what_is_sealed(
    served: Plane, namespace: str, operator: Operator, player: Player
) -> None:
    async with player.playing(Seals().script(player)):
        await complete(served, a_short_run(namespace))
        before = uids_of(served, namespace)
        first = stage_of(served, namespace, "preflight").job
        served.kubectl("delete", "reconstructionrun/medical", f"--namespace={namespace}")
        await complete(served, a_short_run(namespace))
    status = status_of(served, namespace)
    assert {stage.name: stage.state for stage in status.stages} == {
        "preflight": State.SUCCEEDED,
        **dict.fromkeys(("mix", "train", "report"), State.REUSED),
    }
    assert stage_of(served, namespace, "preflight").job != first
    await eventually(lambda: not uids_of(served, namespace).keys() & before.keys(), 60, "the old Jobs are collected")
    assert list(uids_of(served, namespace).values()) == ["preflight"]


@pytest.mark.fault(63)
async def test_a_corrected_selector_replaces_a_job_without_a_started_pod_and_leaves_a_running_one(
    served: Plane, namespace: str, operator: Operator, player: Player
) -> None:
    seals = Seals()
    async with player.playing(only(seals.script(player), "preflight")):
        served.apply([a_short_run(namespace, scheduling={"nodeSelector": {"pool": "mistyped"}})])
        stuck = await player.pod_of("mix")
        served.apply([a_short_run(namespace, scheduling={"nodeSelector": {"pool": "gpu"}})])
        await player.gone(stuck)
        mended = await player.pod_of("mix")
        assert mended.manifest["spec"]["nodeSelector"] == {"pool": "gpu"}
        await player.run(mended)
        await eventually(lambda: stage_of(served, namespace, "mix").state is State.RUNNING, 60, "mix runs")

        other = {"nodeSelector": {"pool": "gpu-2"}}
        served.apply([a_short_run(namespace, scheduling=other, queueName="team")])
        await eventually(lambda: is_pinned(served, namespace), 60, "preflight has answered for the last edit")
        assert player.pods("mix")[0].uid == mended.uid
    async with player.playing(seals.script(player)):
        await seals.finish(player, mended)
        later = await player.pod_of("train")
        assert later.manifest["spec"]["nodeSelector"]["pool"] == "gpu-2"
        await wait_for(served, namespace, "Complete")
    labels = [job["metadata"]["labels"] for job in jobs_of(served, namespace)]
    queues = {each["rehearsal.dev/stage"]: each.get("kueue.x-k8s.io/queue-name") for each in labels}
    assert (queues["mix"], queues["train"], queues["report"]) == (None, "team", "team")


@pytest.mark.fault(23)
async def test_an_upgraded_operator_leaves_the_jobs_of_the_release_before_as_they_are(
    served: Plane, namespace: str, operator: Operator, player: Player
) -> None:
    seals = Seals()
    served.apply([a_short_run(namespace)])
    pod = await played_up_to("mix", seals, player)
    await asyncio.to_thread(operator.kill)
    job = f"/apis/batch/v1/namespaces/{namespace}/jobs/{pod.job}"
    older = {"labels": {"app.kubernetes.io/version": "0.0.1"}, "annotations": {"rehearsal.dev/execution": "of-another-release"}}
    before = served.request("PATCH", job, {"metadata": older})["metadata"]
    await asyncio.to_thread(operator.start)

    async with player.playing(seals.script(player)):
        await seals.finish(player, pod)
        await wait_for(served, namespace, "Complete")
    assert sorted(uids_of(served, namespace).values()) == sorted(SHORT)
    after = served.request("GET", job)["metadata"]
    assert (after["uid"], after["labels"]) == (before["uid"], before["labels"])


async def test_kubectl_shows_at_a_glance_how_a_run_is_and_in_its_events_what_happened(
    served: Plane, namespace: str, operator: Operator, player: Player
) -> None:
    seals = Seals()
    served.apply([a_short_run(namespace)])
    pod = await played_up_to("train", seals, player)
    await player.api.patch(f"{pod.path}/status", {"status": {"startTime": hours_ago(2)}}, STRATEGIC)
    player.log(pod, '{"progress": {"done": 30, "total": 60, "unit": "steps", "per_second": 0.004}}\n')
    await eventually(lambda: table(served, namespace)[1]["PROGRESS"] == "51", 60, "half of the steps are done")
    header, row = table(served, namespace)
    assert list(header) == ["NAME", "STAGE", "PROGRESS", "ETA", "GPU-H", "READY", "AGE", "MESSAGE"]
    assert [row[name] for name in ("NAME", "STAGE", "READY", "MESSAGE")] == ["medical", "train", "False", "train"]
    assert re.fullmatch(r"[12]h\d+m", row["ETA"])

    await seals.finish(player, pod)
    async with player.playing(seals.script(player)):
        await complete(served, a_short_run(namespace))
    row = table(served, namespace)[1]
    assert [row[name] for name in ("STAGE", "PROGRESS", "ETA", "READY")] == ["Complete", "100", "", "True"]
    assert row["MESSAGE"] == "4 of 4 stages ran for this run"
    assert float(row["GPU-H"]) == pytest.approx(16, rel=0.05)
    # Events follow the status.
    for words in ("train is done, 100 rows", "4 of 4 stages ran for this run"):
        await eventually(lambda words=words: words in events(served, namespace), 60, f"an event says: {words}")
    assert "StageSucceeded" in described(served, namespace)


def version_of(plane: Plane, namespace: str) -> str:
    return str(resource_of(plane, namespace)["metadata"]["resourceVersion"])


def is_pinned(plane: Plane, namespace: str) -> bool:
    """Whether preflight has answered for the run as it is now written."""
    run = read_run(resource_of(plane, namespace))
    return run.status.inputs_key == inputs_key(run)


def table(plane: Plane, namespace: str) -> tuple[list[str], dict[str, str]]:
    """What `kubectl get` prints of one run: its columns, and the row by column."""
    header, row = plane.kubectl("get", "recon", f"--namespace={namespace}").splitlines()
    starts = [found.start() for found in re.finditer(r"\S+", header)]
    cells = [row[start:end].strip() for start, end in zip(starts, [*starts[1:], None], strict=True)]
    return header.split(), dict(zip(header.split(), cells, strict=True))


def events(plane: Plane, namespace: str) -> list[str]:
    return [str(event["message"]) for event in plane.request("GET", f"/api/v1/namespaces/{namespace}/events")["items"]]


def described(plane: Plane, namespace: str) -> str:
    return plane.kubectl("describe", "recon", "medical", f"--namespace={namespace}")


def hours_ago(hours: float) -> str:
    return stamp(datetime.now(UTC) - timedelta(hours=hours))
