"""A little HTTP server in the place of an API server, which answers as a test tells it to."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from rehearsal.cluster.kubernetes import KubernetesCluster

TOKEN = "canary-of-the-operators-token"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class ApiServer:
    """What it was asked, and what it answers: the same to every request, or what `handler` makes of it."""

    handler: Handler | None = None
    code: int = 200
    body: Any = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    requests: list[web.Request] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        text = await request.text()
        self.bodies.append(json.loads(text) if text else None)
        if self.handler:
            return await self.handler(request)
        if isinstance(self.body, str):
            return web.Response(status=self.code, text=self.body, headers=self.headers)
        return web.json_response(self.body, status=self.code, headers=self.headers)

    def refuse(self, code: int, reason: str, message: str = "no", details: object = None, **headers: str) -> None:
        """Answer with a Status object from now on."""
        self.code, self.headers = code, headers
        self.body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason}
        self.body |= {"message": message, "details": details or {}}


@asynccontextmanager
async def served(server: ApiServer) -> AsyncIterator[str]:
    """Serve on a free port; yields the URL."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def kubeconfig_for(url: str, folder: Path) -> Path:
    """A kubeconfig of that server, whose user has a token."""
    path = folder / "kubeconfig"
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "test",
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
                "clusters": [{"name": "test", "cluster": {"server": url}}],
                "users": [{"name": "test", "user": {"token": TOKEN}}],
            }
        )
    )
    return path


@asynccontextmanager
async def adapter(server: ApiServer, folder: Path, **options: Any) -> AsyncIterator[KubernetesCluster]:
    """The adapter, talking to that server."""
    async with served(server) as url, KubernetesCluster(kubeconfig_for(url, folder), **options) as cluster:
        yield cluster
