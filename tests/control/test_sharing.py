"""Two runs that need the same stages, on a real API server: one Job works, and what becomes of its run costs the other no wait."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from rehearsal.api.status import RunStatus, State
from tests.control.access import Access
from tests.control.given import Plane
from tests.control.operator_process import Operator, eventually
from tests.control.player import Player
from tests.control.pod_status import Pod
from tests.control.story import Seals, a_short_run, jobs_of, only, pod_for, stage_of, wait_for

pytestmark = [pytest.mark.control, pytest.mark.fault(64)]

RUNS = ("first", "second")
SOON = 60
"""Seconds: half as long as a run that waits here takes to look by itself."""
BY_NEWS = "import sys; from rehearsal.controller import __main__, plan; plan.SHARING_SECONDS = 120; sys.exit(__main__.main())"


class OperatorByNews(Operator):
    """The operator, whose looks by the clock at a run that waits are put off: what such a run does soon, it does because of news."""

    def __init__(self, access: Access, namespace: str, folder: Path) -> None:
        super().__init__(access, namespace, folder)
        at = self._command.index("-m")
        self._command[at : at + 2] = ["-c", BY_NEWS]


@pytest.fixture
async def operator(served: Plane, namespace: str, tmp_path: Path) -> AsyncIterator[Operator]:
    async with OperatorByNews(served, namespace, tmp_path) as operator:
        yield operator


async def test_two_runs_at_once_share_every_stage_and_both_complete(
    served: Plane, namespace: str, operator: Operator, player: Player
) -> None:
    seals = Seals()
    async with player.playing(only(seals.script(player), "preflight")):
        served.apply([a_short_run(namespace, run) for run in RUNS])
        for stage in ("mix", "train", "report"):
            pod, waiter = await shared(served, namespace, player, stage)
            entry = stage_of(served, namespace, stage, waiter)
            assert entry.message == f"waits for run {owner_of(pod)}, which computes this stage"
            await player.run(pod)
            await seals.finish(player, pod)
            reused = is_in(served, namespace, stage, waiter, State.REUSED)
            await eventually(reused, SOON, f"{waiter} reuses {stage}")
        statuses = [await wait_for(served, namespace, "Complete", run) for run in RUNS]
    stages = Counter(job["metadata"]["labels"]["rehearsal.dev/stage"] for job in jobs_of(served, namespace))
    assert stages == {"preflight": 2, "mix": 1, "train": 1, "report": 1}
    assert seals_of(statuses[0]) == seals_of(statuses[1])


@pytest.mark.parametrize("fate", ["suspended", "edited", "deleted", "deleted while the operator is dead"])
async def test_when_the_run_that_works_leaves_the_one_that_waits_takes_over_soon(
    fate: str, served: Plane, namespace: str, operator: Operator, player: Player
) -> None:
    seals = Seals()
    async with player.playing(only(seals.script(player), "preflight")):
        served.apply([a_short_run(namespace, run) for run in RUNS])
        pod, waiter = await shared(served, namespace, player, "mix")
        await player.run(pod)
        await eventually(is_in(served, namespace, "mix", owner_of(pod), State.RUNNING), SOON, "the owner works")
        await meets(fate, owner_of(pod), served, namespace, operator)
        await player.gone(pod)
        mine = await pod_for(player, waiter, "mix", seconds=SOON)
    async with player.playing(seals.script(player)):
        await wait_for(served, namespace, "Complete", waiter)
    assert stage_of(served, namespace, "mix", waiter).job == mine.job
    assert stage_of(served, namespace, "mix", waiter).state is State.SUCCEEDED


async def meets(fate: str, run: str, plane: Plane, namespace: str, operator: Operator) -> None:
    """Let the run that works meet its fate."""
    delete = ("delete", f"reconstructionrun/{run}", f"--namespace={namespace}")
    match fate:
        case "suspended":
            plane.apply([a_short_run(namespace, run, suspend=True)])
        case "edited":
            plane.apply([a_short_run(namespace, run, seed=7)])
        case "deleted":
            plane.kubectl(*delete)
        case _:
            await asyncio.to_thread(operator.kill)
            plane.kubectl(*delete)
            await asyncio.to_thread(operator.start)


async def shared(plane: Plane, namespace: str, player: Player, stage: str) -> tuple[Pod, str]:
    """Wait until one run has the stage's only pod and the other waits for it; return the pod, and who waits."""
    waiting = {run: is_in(plane, namespace, stage, run, State.WAITING, job=False) for run in RUNS}
    await eventually(lambda: any(waits() for waits in waiting.values()), 60, f"a run waits for the other's {stage}")
    waiter = next(run for run in RUNS if waiting[run]())
    return await pod_for(player, next(run for run in RUNS if run != waiter), stage), waiter


def is_in(plane: Plane, namespace: str, stage: str, run: str, state: State, job: bool = True) -> Callable[[], bool]:
    """Whether a run's stage is in this state; without a Job of its own where `job` is false."""

    def holds() -> bool:
        entry = stage_of(plane, namespace, stage, run)
        return entry.state is state and (job or entry.job is None)

    return holds


def owner_of(pod: Pod) -> str:
    return pod.labels["rehearsal.dev/run"]


def seals_of(status: RunStatus) -> dict[str, str | None]:
    return {stage.name: stage.sealed.manifest_digest if stage.sealed else None for stage in status.stages}
