"""The operator as a real process, with kills, an API server that is away or overloaded, and watches that break, hang or die."""

import asyncio
from pathlib import Path

import pytest
from aiohttp import web

from rehearsal.api.status import State
from tests.control.given import Plane
from tests.control.operator_process import Operator, eventually
from tests.control.player import Player
from tests.control.proxy import Proxy, is_watch, is_write, refusal, silent_watch, watch_that_says
from tests.control.story import SHORT, a_short_run, all_goes_well, jobs_of, status_of, wait_for

pytestmark = pytest.mark.control


class Kill:
    """A rule that holds one write, the next one of that kind, until the operator that made it is dead."""

    def __init__(self, proxy: Proxy, method: str, passes: bool) -> None:
        self._proxy, self._method, self._passes = proxy, method, passes
        self.held, self.passed = asyncio.Event(), asyncio.Event()
        self._dead = asyncio.Event()

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        if request.method != self._method or self.held.is_set():
            return None
        self.held.set()
        if self._passes:
            await self._proxy.forward_unseen(request)
        self.passed.set()
        await self._dead.wait()
        return refusal(503, "nobody hears this")

    async def carry_out(self, operator: Operator) -> None:
        async with asyncio.timeout(60):
            await self.passed.wait()
        await asyncio.to_thread(operator.kill)
        self._dead.set()


@pytest.mark.fault(1)
@pytest.mark.fault(2)
async def test_kills_between_its_writes_double_nothing_and_lose_nothing(
    served: Plane, namespace: str, player: Player, tmp_path: Path
) -> None:
    """Each kill falls on a write that took effect unknown to the operator, or on one that did not: Job made, status not told …"""
    async with (
        Proxy(served) as proxy,
        Operator(served, namespace, tmp_path, proxy.url) as operator,
        player.playing(all_goes_well(player)),
    ):
        for number, (method, passes) in enumerate([("POST", True), ("PATCH", False), ("PATCH", True), ("POST", False)]):
            proxy.rule = kill = Kill(proxy, method, passes)
            if number == 0:
                served.apply([a_short_run(namespace)])
            else:
                await asyncio.to_thread(operator.start)
            await kill.carry_out(operator)
        await asyncio.to_thread(operator.start)
        status = await wait_for(served, namespace, "Complete")
    jobs = jobs_of(served, namespace)
    assert sorted(job["metadata"]["labels"]["rehearsal.dev/stage"] for job in jobs) == sorted(SHORT)
    assert {job["metadata"]["annotations"]["rehearsal.dev/attempt"] for job in jobs} == {"0"}
    assert [stage.attempt for stage in status.stages] == [0] * len(SHORT)


@pytest.mark.fault(13)
async def test_an_api_server_that_stops_and_hangs_fails_nothing(
    served: Plane, namespace: str, player: Player, tmp_path: Path
) -> None:
    async with Operator(served, namespace, tmp_path, sweep_seconds=2) as operator:
        served.apply([a_short_run(namespace)])
        await all_goes_well(player)(await player.pod_of("preflight"))
        await player.run(pod := await player.pod_of("mix"))
        await eventually(lambda: stage_of(served, namespace, "mix") is State.RUNNING, 60, "mix runs")
        jobs, life = [job["metadata"]["uid"] for job in jobs_of(served, namespace)], operator.metric("process_start_time_seconds")

        served.stop_api_server()
        await eventually(lambda: operator.metric("rehearsal_errors_total", kind="Unavailable") >= 2, 60, "it noticed")
        assert operator.get("/healthz")[0] == 200
        await asyncio.to_thread(served.start_api_server)
        served.pause_api_server()
        await asyncio.sleep(3)
        served.resume_api_server()

        await eventually(lambda: operator.metric("rehearsal_sweep_age_seconds") < 2, 60, "it sweeps again")
        assert [job["metadata"]["uid"] for job in jobs_of(served, namespace)] == jobs
        assert stage_of(served, namespace, "mix") is State.RUNNING
        await all_goes_well(player)(pod)
        async with player.playing(all_goes_well(player)):
            status = await wait_for(served, namespace, "Complete")
        assert [stage.attempt for stage in status.stages] == [0] * len(SHORT)
        assert operator.metric("process_start_time_seconds") == life


@pytest.mark.fault(14)
async def test_an_overloaded_api_server_is_left_alone_for_as_long_as_it_asks(
    served: Plane, namespace: str, player: Player, tmp_path: Path
) -> None:
    async with Proxy(served) as proxy, Operator(served, namespace, tmp_path, proxy.url):
        refused: list[float] = []

        async def overloaded(request: web.Request) -> web.StreamResponse | None:
            if not is_write(request) or len(refused) >= 2:
                return None
            refused.append(asyncio.get_running_loop().time())
            return refusal(429, "TooManyRequests", **{"Retry-After": "2"})

        proxy.rule = overloaded
        async with player.playing(all_goes_well(player)):
            served.apply([a_short_run(namespace)])
            await wait_for(served, namespace, "Complete")
    writes = [when for when, method, _ in proxy.seen if method != "GET"]
    assert writes[:2] == pytest.approx(refused, abs=0.5)
    assert writes[1] - writes[0] >= 2
    assert writes[2] - writes[1] >= 2


@pytest.mark.fault(10)
async def test_a_watch_that_is_gone_is_begun_anew_from_a_list(
    served: Plane, namespace: str, player: Player, tmp_path: Path
) -> None:
    gone: set[str] = set()

    async def gone_once(request: web.Request) -> web.StreamResponse | None:
        if not is_watch(request) or request.path in gone:
            return None
        gone.add(request.path)
        return await watch_that_says(request, 410)

    async with Proxy(served) as proxy:
        proxy.rule = gone_once
        operator = Operator(served, namespace, tmp_path, proxy.url, sweep_seconds=600)
        async with operator, player.playing(all_goes_well(player)):
            served.apply([a_short_run(namespace)])
            await wait_for(served, namespace, "Complete")
            assert operator.metric("rehearsal_sweep_seconds_count") == 1
    assert {path.rpartition("/")[2] for path in gone} == {"reconstructionruns", "jobs", "pods"}


@pytest.mark.fault(11)
async def test_behind_silent_watches_the_sweep_moves_a_run(served: Plane, namespace: str, player: Player, tmp_path: Path) -> None:
    async def silent(request: web.Request) -> web.StreamResponse | None:
        return await silent_watch(request) if is_watch(request) else None

    async with Proxy(served) as proxy:
        proxy.rule = silent
        operator = Operator(served, namespace, tmp_path, proxy.url, sweep_seconds=1)
        async with operator, player.playing(all_goes_well(player)):
            served.apply([a_short_run(namespace)])
            await wait_for(served, namespace, "Complete")
            assert operator.get("/healthz")[0] == 200


@pytest.mark.fault(12)
@pytest.mark.parametrize("others", [500, 503], ids=["with the others", "while the others ask again"])
async def test_when_a_watch_dies_the_process_ends_and_says_so(served: Plane, namespace: str, tmp_path: Path, others: int) -> None:
    begun = asyncio.Event()

    async def dying(request: web.Request) -> web.StreamResponse | None:
        if not is_watch(request):
            return None
        await begun.wait()
        if others == 503 and not request.path.endswith("/reconstructionruns"):
            return refusal(503, "ServiceUnavailable")
        return await watch_that_says(request, 500)

    async with Proxy(served) as proxy:
        proxy.rule = dying
        async with Operator(served, namespace, tmp_path, proxy.url) as operator:
            begun.set()
            assert await asyncio.to_thread(operator.exit_code, 60) == 70
    assert "watch ended, and so does the process" in operator.log


def stage_of(plane: Plane, namespace: str, name: str) -> State | None:
    stage = status_of(plane, namespace).stage(name)
    return stage.state if stage else None
