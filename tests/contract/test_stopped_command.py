"""A command that was stopped and is given again: what it says it loses, and what an edited platform reaches. Real processes."""

import asyncio
import shutil
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rehearsal.api.platform import Platform
from rehearsal.api.status import State
from rehearsal.cluster.local import Capacity, LocalCluster
from rehearsal.console.interruption import Interrupted, at_work, not_kept
from rehearsal.console.live import LiveView
from rehearsal.console.machine import defaults
from rehearsal.console.session import carry_out, now
from rehearsal.controller.renewal import renew
from rehearsal.manifests.jobs import Order, build_job
from rehearsal.pipeline.fingerprint import fingerprints
from rehearsal.pipeline.stages import stages_of
from tests.contract.cluster_jobs import NAMESPACE, run_of, until
from tests.unit.worlds import INPUTS, a_spec, parsed

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"
PLATFORM = Platform.model_validate(defaults() | {"stores": {"default": {"folder": {"path": "/store"}}}})
KNOWN = fingerprints(stages_of(parsed()), INPUTS)
SAYS = """
import signal, sys, time
def end(*_): print('{"progress": {"done": 92, "total": 600, "dropped": 96}}', flush=True); sys.exit(143)
signal.signal(signal.SIGTERM, end)
print('{"progress": {"done": 188, "total": 600}}', flush=True)
time.sleep(600)
"""


@asynccontextmanager
async def opened(state: Path):
    async with LocalCluster(state, Capacity(cpu=16, memory=64 << 30), 0.1) as cluster:
        yield cluster


async def ordered(cluster: LocalCluster, stage: str, *command: str) -> dict[str, Any]:
    """The run, and its Job of a stage as the operator orders it, but for what its one container does."""
    run = await cluster.apply(run_of("medical", a_spec()))
    (chosen,) = [each for each in stages_of(parsed()) if each.name == stage]
    order = Order(NAMESPACE, "medical", run["metadata"]["uid"], parsed(), chosen, KNOWN[stage], 0, 1, INPUTS, KNOWN)
    job: Any = build_job(order, PLATFORM)
    pod = job["spec"]["template"]["spec"]
    pod["initContainers"] = []
    pod["containers"][0]["command"] = list(command)
    return await cluster.create(job)


async def started(trace: Path, times: int) -> None:
    async def enough() -> bool:
        return starts(trace) == times

    await until(enough)


def starts(trace: Path) -> int:
    return len(trace.read_text().split()) if trace.exists() else 0


@pytest.mark.fault(83)
@pytest.mark.parametrize(
    "edit",
    [
        {"limits": {"concurrency": 7}},
        {"cpuStage": {"cpu": "1"}},
        {"stores": {"default": {"folder": {"path": "/elsewhere"}}}},
        {"images": {"operator": "another"}},
        {"deadlineSeconds": 3600},
    ],
    ids=lambda edit: next(iter(edit)),
)
async def test_an_edited_platform_reaches_the_job_of_a_stopped_command_before_it_starts_again(tmp_path: Path, edit: Any) -> None:
    trace, state = tmp_path / "starts", tmp_path / "state"
    async with opened(state) as cluster:
        await ordered(cluster, "mix", "sh", "-c", f"echo start >> {trace}; exec sleep 600")
        await started(trace, 1)
    edited = Platform.model_validate(PLATFORM.wire() | edit)
    async with opened(state) as cluster:
        await renew(cluster, edited, NAMESPACE, "medical", now())
        assert await cluster.list("Job", NAMESPACE, {}) == []
        await until(lambda: gone(cluster))
    assert starts(trace) == 1


@pytest.mark.fault(83)
async def test_the_command_renews_what_was_ordered_otherwise_before_anything_starts(tmp_path: Path) -> None:
    trace, state = tmp_path / "starts", tmp_path / "state"
    async with opened(state) as cluster:
        await ordered(cluster, "mix", "sh", "-c", f"echo start >> {trace}; exec sleep 600")
        await started(trace, 1)
    stores = {"default": {"folder": {"path": str(tmp_path / "none" / "store")}}}
    edited = Platform.model_validate(PLATFORM.wire() | {"stores": stores})
    status = await carry_out(run_of("medical", a_spec()), edited, state, LiveView(Console(file=StringIO()), "medical", now))
    assert status
    assert starts(trace) == 1
    assert [stage.state for stage in status.stages if stage.name == "preflight"] == [State.FAILED]


async def gone(cluster: LocalCluster) -> bool:
    return not await cluster.list("Pod", NAMESPACE, {})


@pytest.mark.fault(83)
async def test_the_job_of_a_stopped_command_goes_on_where_nothing_was_edited(tmp_path: Path) -> None:
    trace, state = tmp_path / "starts", tmp_path / "state"
    async with opened(state) as cluster:
        job = await ordered(cluster, "mix", "sh", "-c", f"echo start >> {trace}; exec sleep 600")
        await started(trace, 1)
    async with opened(state) as cluster:
        await renew(cluster, PLATFORM, NAMESPACE, "medical", now())
        (kept,) = await cluster.list("Job", NAMESPACE, {})
        assert kept["metadata"]["uid"] == job["metadata"]["uid"]
        await started(trace, 2)


@pytest.mark.fault(81)
async def test_what_a_stopped_command_drops_is_told_by_stage(tmp_path: Path) -> None:
    async with opened(tmp_path) as cluster:
        await ordered(cluster, "respond-base", "python", "-S", "-c", SAYS)
        await ordered(cluster, "judge-base", "sleep", "600")
        await ordered(cluster, "train", "sleep", "600")

        async def all_say() -> bool:
            pods = await at_work(cluster, NAMESPACE)
            logs = [await cluster.log_tail(NAMESPACE, pod.pod, "main", 1) for pod in pods if pod.stage == "respond-base"]
            return len(pods) == 3 and any("188" in log for log in logs)

        await until(all_say)
        working = await at_work(cluster, NAMESPACE)
    assert sorted(not_kept(tmp_path, working)) == [
        "judge-base had begun no row",
        "respond-base: 96 of 600 rows were in the making and are not kept",
        "train goes on from its last checkpoint",
    ]
    assert str(Interrupted(["a", "b"])) == ("Interrupted. a; b. What is committed is kept: the same command goes on from there.")


@pytest.mark.fault(81)
def test_the_command_says_what_it_loses_when_it_is_interrupted(tmp_path: Path) -> None:
    shutil.copytree(QUICKSTART / "store" / "inputs", tmp_path / "store" / "inputs")
    for name in ("run.yaml", "platform.yaml"):
        shutil.copy(QUICKSTART / name, tmp_path)
    rehearsal = Path(sys.executable).parent / "rehearsal"
    command = subprocess.Popen(
        [rehearsal, "run", "run.yaml"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )

    async def preflight() -> bool:
        return any(tmp_path.glob(".rehearsal/*/*/logs/*preflight*/*/main.log"))

    asyncio.run(until(preflight))
    command.send_signal(signal.SIGINT)
    _, words = command.communicate(timeout=120)
    assert (command.returncode, words.strip()) == (
        130,
        "Interrupted. preflight begins anew. What is committed is kept: the same command goes on from there.",
    )
