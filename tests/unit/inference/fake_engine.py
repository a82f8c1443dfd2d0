"""A small real HTTP server that plays vLLM and can be told to fail in the ways a real one does."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from rehearsal.inference.client import Patience

QUICK = Patience(start=60, canary=60, repeat=60, request=60, token=0, first_pause=0.01, longest_pause=0.05)
"""Short pauses. What is to run out in a test is shortened there: everything else has the time that a busy machine takes."""
MODEL, LENGTH = "model-0123456789abcdef", 512
Body = dict[str, Any]


def one_token(body: Body) -> Body:
    """Every choice is the prompt's length and the first stop token."""
    ids = [len(body["prompt"]), *body["stop_token_ids"][:1]]
    finish = "stop" if body["stop_token_ids"] else "length"
    choice = {"token_ids": ids, "finish_reason": finish, "logprobs": None}
    return {
        "choices": [{"index": i, **choice} for i in reversed(range(body["n"]))],
        "usage": {"prompt_tokens": len(body["prompt"]), "completion_tokens": body["n"] * len(ids)},
    }


class FakeEngine:
    """`script` holds what the next completions meet; then all is well.

    A status, the bytes of a body, "disconnect", "hang", "unfinished" or "ok"; or a barrier, at which as many as it takes are
    disconnected together.
    """

    def __init__(
        self, *script: int | str | bytes | asyncio.Barrier, answer: Callable[[Body], Body] = one_token, model: str = MODEL
    ) -> None:
        self.script, self.answer, self.model = deque(script), answer, model
        self.requests: list[Body] = []
        self.healthy = True
        self.port = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/health", self._health)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/completions", self._complete)
        self._runner = web.AppRunner(app, shutdown_timeout=0.05)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        assert self._runner
        await self._runner.cleanup()

    async def _health(self, _request: web.Request) -> web.Response:
        return web.Response(status=200 if self.healthy else 503)

    async def _models(self, _request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": self.model, "max_model_len": LENGTH}]})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.requests.append(body)
        step = self.script.popleft() if self.script else "ok"
        if isinstance(step, asyncio.Barrier):
            await step.wait()
            step = "disconnect"
        if step == "disconnect":
            assert request.transport
            request.transport.close()
        if step == "hang":
            await asyncio.sleep(30)
        if isinstance(step, int):
            return web.json_response({"error": {"message": "no", "type": "BadRequestError"}}, status=step)
        if isinstance(step, bytes):
            return web.Response(body=step, content_type="application/json")
        answer = self.answer(body)
        if step == "unfinished":
            answer["choices"][0]["finish_reason"] = "abort"
        return web.json_response(answer)


@asynccontextmanager
async def running(engine: FakeEngine) -> AsyncIterator[FakeEngine]:
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()
