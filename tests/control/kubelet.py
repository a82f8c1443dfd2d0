"""The one thing of a kubelet that an API server asks for: the logs of containers. From memory, over HTTPS, on 127.0.0.1.

Not covered: `follow`, `previous`, `sinceSeconds` and byte limits.
"""

import ssl
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Self

from aiohttp import web

from tests.control.certificates import Authority

Place = tuple[str, str, str]
"""Namespace, pod, container."""


class Kubelet:
    """A server of logs, inside `async with`. A container has a log, maybe an empty one, once `write` was called for it."""

    def __init__(self) -> None:
        self._logs: defaultdict[Place, str] = defaultdict(str)
        self.reads = 0
        """How many logs were asked for."""

    def write(self, namespace: str, pod: str, container: str, text: str) -> None:
        """Append to a container's log."""
        self._logs[namespace, pod, container] += text

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._log)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=_tls())
        await site.start()
        self.port = int(self._runner.addresses[0][1])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _log(self, request: web.Request) -> web.Response:
        self.reads += 1
        place = (request.match_info["namespace"], request.match_info["pod"], request.match_info["container"])
        if place not in self._logs:
            text = f'container "{place[2]}" in pod "{place[1]}" is waiting to start: ContainerCreating'
            return web.Response(status=400, text=text)
        lines = self._logs[place].splitlines(keepends=True)
        tail = int(request.query.get("tailLines", len(lines)))
        return web.Response(text="".join(lines[len(lines) - tail :] if tail < len(lines) else lines))


def _tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        context.load_cert_chain(*Authority(Path(folder)).issue("kubelet"))
    return context
