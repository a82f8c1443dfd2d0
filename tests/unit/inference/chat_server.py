"""A small real HTTP server that plays an OpenAI-compatible service and can be told to fail in the ways real ones do."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from aiohttp import web

from rehearsal.inference.endpoint import Tolerance

QUICK = Tolerance(request=60, give_up=60, first_pause=0.01, longest_pause=0.05)
"""Short pauses. What is to run out in a test is shortened there: everything else has the time that a busy machine takes."""
MODEL = "gpt-4-0613"
CANARY = "canary-of-an-address-that-is-secret"
Body = dict[str, Any]
Answer = Callable[[Body], str]


def echo(body: Body) -> str:
    return str(body["messages"][-1]["content"]).upper()


class ChatServer:
    """`script` holds what the next requests meet.

    A status, a (status, error code), "hang", "disconnect", "garbage", "nonsense" (no HTTP, and it quotes the canary), the bytes of
    a body, or "ok".
    """

    def __init__(self, *script: Any, answer: Answer = echo, key: str | None = None, headers: Mapping[str, str] = {}) -> None:
        self.script, self.answer, self.key, self.headers = deque(script), answer, key, dict(headers)
        self.model, self.fingerprint, self.finish = MODEL, "fp_1", "stop"
        self.at_most = 128
        self.requests: list[Body] = []
        self.busy = self.busiest = 0
        self.port = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def start(self) -> None:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._counted)
        app.router.add_post("/elsewhere", self._elsewhere)
        self._runner = web.AppRunner(app, shutdown_timeout=0.05)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        assert self._runner
        await self._runner.cleanup()

    async def _elsewhere(self, _request: web.Request) -> web.Response:
        raise AssertionError("a redirect was followed, with the key")

    async def _counted(self, request: web.Request) -> web.StreamResponse:
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        try:
            return await self._chat(request)
        finally:
            self.busy -= 1

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.requests.append(body)
        await asyncio.sleep(0)
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            return web.json_response({"error": {"message": "no"}}, status=401)
        step = self.script.popleft() if self.script else "ok"
        if step == "disconnect":
            assert request.transport
            request.transport.close()
        if step == "nonsense":
            assert isinstance(request.transport, asyncio.Transport)
            request.transport.write(f"HTTP/1.1 2oo {CANARY}\r\n\r\n".encode())
            request.transport.close()
        if step == "hang":
            await asyncio.sleep(30)
        if step == "garbage":
            return web.Response(text="<html>")
        if isinstance(step, bytes):
            return web.Response(body=step)
        if step != "ok":
            status, code = step if isinstance(step, tuple) else (step, None)
            headers = {**self.headers, "Location": "/elsewhere"}
            return web.json_response({"error": {"message": "your prompt said…", "code": code}}, status=status, headers=headers)
        return web.json_response(self._answer(body))

    def _answer(self, body: Body) -> Body:
        n = min(body["n"], self.at_most)
        message = {"role": "assistant", "content": self.answer(body)}
        return {
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": [{"index": i, "message": message, "finish_reason": self.finish} for i in reversed(range(n))],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2 * n},
        }


@contextmanager
def beside(server: ChatServer) -> Iterator[ChatServer]:
    """Serve in a thread of its own: a stage program has an event loop of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(60)
        yield server
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(60)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
