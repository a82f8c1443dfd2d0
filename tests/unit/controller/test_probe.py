"""The probe's two pages."""

from collections.abc import Callable

import aiohttp
import pytest

from rehearsal.controller.probe import serving
from tests.ports import free_port


async def read(path: str, alive: bool = True, page: Callable[[], bytes] = bytes) -> tuple[int, str, bytes]:
    """Status, content type and body of a page."""
    port = free_port()
    async with (
        serving(port, lambda: alive, lambda: 12.4, page),
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}{path}") as answer,
    ):
        return answer.status, answer.headers["Content-Type"], await answer.read()


@pytest.mark.parametrize(("alive", "status"), [(True, 200), (False, 503)])
async def test_healthz_answers_as_the_sweeps_do_and_tells_their_age(alive: bool, status: int) -> None:
    found, _, body = await read("/healthz", alive)
    assert (found, body) == (status, b"last complete sweep 12 s ago\n")


async def test_metrics_are_served_as_prometheus_expects() -> None:
    page = b"x_total 1.0\n"
    assert await read("/metrics", page=lambda: page) == (200, "text/plain; version=0.0.4; charset=utf-8", page)


async def test_nothing_else_is_served() -> None:
    assert (await read("/"))[0] == 404
