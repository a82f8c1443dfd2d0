"""The operator's two pages for its platform: /healthz for the kubelet, /metrics for Prometheus. Plain HTTP, nothing secret."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

TEXT = "text/plain; version=0.0.4"


@asynccontextmanager
async def serving(port: int, alive: Callable[[], bool], age: Callable[[], float], page: Callable[[], bytes]) -> AsyncIterator[None]:
    """Serve on all interfaces, IPv4 and IPv6, while the context lasts.

    /healthz is 200 while `alive`, and 503 otherwise; both tell the `age` of the last sweep.
    """

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(status=200 if alive() else 503, text=f"last complete sweep {age():.0f} s ago\n")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=page(), headers={"Content-Type": f"{TEXT}; charset=utf-8"})

    application = web.Application()
    application.add_routes([web.get("/healthz", healthz), web.get("/metrics", metrics)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, port=port).start()
        yield
    finally:
        await runner.cleanup()
