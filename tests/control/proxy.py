"""A proxy between the operator and the API server, at which a test makes the network, or the server, misbehave.

Plain HTTP on 127.0.0.1. A rule sees each request first: it answers in the server's place, delays it by awaiting, or lets it pass.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Self

import aiohttp
from aiohttp import web
from yarl import URL

from tests.control.access import Access

Rule = Callable[[web.Request], Awaitable[web.StreamResponse | None]]
HOP_BY_HOP = {"host", "connection", "transfer-encoding", "content-length", "content-encoding"}


async def let_pass(_: web.Request) -> None:
    return None


class Proxy:
    """Inside `async with`. `rule` may be exchanged at any time; `seen` is every request as (loop time, method, path)."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self.rule: Rule = let_pass
        self.seen: list[tuple[float, str, str]] = []

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=self._access.ssl, limit=0)
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None))
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((asyncio.get_running_loop().time(), request.method, request.path))
        return await self.rule(request) or await self.forward(request)

    async def forward(self, request: web.Request) -> web.StreamResponse:
        """Pass a request on, and the answer back as it comes."""
        try:
            async with await self._ask(request) as answer:
                kept = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP}
                response = web.StreamResponse(status=answer.status, headers=kept)
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
                return response
        except aiohttp.ClientError as error:
            return web.Response(status=502, text=str(error))

    async def forward_unseen(self, request: web.Request) -> None:
        """Pass a request on, and keep the answer back."""
        async with await self._ask(request) as answer:
            await answer.read()

    async def _ask(self, request: web.Request) -> aiohttp.ClientResponse:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
        target = URL(self._access.url + request.raw_path, encoded=True)
        return await self._session.request(request.method, target, headers=headers, data=await request.read() or None)


def is_watch(request: web.Request) -> bool:
    return request.query.get("watch") == "true"


def is_write(request: web.Request) -> bool:
    return request.method != "GET"


def refusal(code: int, reason: str, **headers: str) -> web.Response:
    """An API server's refusal."""
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": reason}
    return web.Response(status=code, text=json.dumps(status), content_type="application/json", headers=headers)


async def watch_that_says(request: web.Request, code: int) -> web.StreamResponse:
    """A watch whose only news is an error."""
    error = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": "Expired", "message": "no"}
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(json.dumps({"type": "ERROR", "object": error}).encode() + b"\n")
    await response.write_eof()
    return response


async def silent_watch(request: web.Request) -> web.StreamResponse:
    """A watch that is open and never says anything."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    await asyncio.Event().wait()
    return response
