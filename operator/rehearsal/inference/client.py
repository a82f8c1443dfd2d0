"""The client of one vLLM server on localhost: waits for it, makes sure who it is, and repeats what it leaves unanswered.

RequestRefusedError   70  the server says that the request itself is wrong: a fault of ours
Refused          64  the server serves another model
DeviceUnusable   75  the server is gone, hangs, or fails the same request for too long
"""

import asyncio
import random
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, TypeVar

import aiohttp

from rehearsal.api.messages import DeviceUnusable, Refused, StageError
from rehearsal.inference.body import UnreadableAnswerError, read_body, read_words
from rehearsal.inference.completion import Completion, CompletionRequest, parse_completion
from rehearsal.outside.json_text import read_json
from rehearsal.outside.text import shown
from rehearsal.outside.unreadable import Unreadable

LONGEST_REFUSAL = 4000
KEEP_ALIVE_SECONDS = 2
"""Less than vLLM's own 5 s: a connection that the server closes at the moment it is used again costs a repeat."""

CANARY = (0,) * 32
"""On CPUs with AMX, vLLM 0.32 dies (illegal instruction) if the first prompt it meets is very short."""

REPEATED = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)

Answer = TypeVar("Answer")


class RequestRefusedError(StageError):
    """The server understood the request and finds it wrong; repeating it is useless.

    `sentence`: the server's own, made printable. It may quote the request, so it is for whoever has made that of no text.
    """

    reason = "RequestRefused"

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(f"the engine refuses a request (HTTP {status}); the log has its words")
        self.sentence = sentence


@dataclass(frozen=True)
class Patience:
    """How long a client waits, in seconds. A sidecar that died is restarted and loads its model anew."""

    start: float = 1800
    canary: float = 180
    repeat: float = 900
    request: float = 300
    token: float = 0.5
    first_pause: float = 0.25
    longest_pause: float = 15

    def of_answer(self, max_tokens: int) -> float:
        """Return when an answer of that length is given up: a full queue, and every token slower than any engine."""
        return self.request + self.token * max_tokens

    def pause(self, failures: int) -> float:
        """Return a jittered pause that doubles with every failure."""
        longest: float = min(self.longest_pause, self.first_pause * 2 ** min(failures, 16))
        return longest * random.uniform(0.5, 1)  # noqa: S311 - jitter


class _UnansweredError(Exception):
    """The server gave no answer, or one of its own faults: worth a repeat."""


class Engine:
    """A server that is up, serves the model asked for, and has completed a canary. Made by `connect`."""

    def __init__(self, session: aiohttp.ClientSession, url: str, model: str, patience: Patience) -> None:
        self._session, self._url, self._model, self._patience = session, url, model, patience
        self._reviving, self._alive = asyncio.Lock(), float("-inf")

    async def complete(self, request: CompletionRequest) -> Completion:
        """Return the engine's answer, however often it takes; DeviceUnusable when it stays away too long."""
        return await self.answer(request.wire(self._model), partial(parse_completion, request), request.max_tokens)

    async def answer(self, body: Mapping[str, object], parse: Callable[[Any], Answer], max_tokens: int) -> Answer:
        """Return what `parse` makes of the engine's JSON; an answer that it cannot read, told by a ValueError, is asked for again."""
        loop, failures, first = asyncio.get_running_loop(), 0, 0.0
        while True:
            try:
                return await self._once(body, parse, self._patience.of_answer(max_tokens))
            except (_UnansweredError, TimeoutError) as error:
                failed = loop.time()
                first = first if failures else failed
                if failed - first > self._patience.repeat:
                    why = str(error) or "it took too long"
                    text = f"the engine left a request unanswered {failures + 1} times in {failed - first:.0f} s: {why}"
                    raise DeviceUnusable(text, "EngineGone") from error
            await asyncio.sleep(self._patience.pause(failures))
            failures += 1
            await self._revived(failed)

    async def _revived(self, failed: float) -> None:
        """Return once the engine has completed a canary after that time: what failed is not the first thing it meets anew."""
        async with self._reviving:
            if self._alive < failed:
                await _wait_for_health(self._session, self._url, self._patience, self._patience.repeat)
                await self.canary()
                self._alive = asyncio.get_running_loop().time()

    async def canary(self) -> None:
        """Complete one token, or raise DeviceUnusable: a server can call itself healthy while its device hangs."""
        request = CompletionRequest(CANARY, max_tokens=1)
        body, parse = request.wire(self._model), partial(parse_completion, request)
        try:
            async with asyncio.timeout(self._patience.canary):
                for failures in range(1 << 30):
                    try:
                        await self._once(body, parse, self._patience.canary)
                    except _UnansweredError:
                        await asyncio.sleep(self._patience.pause(failures))
                    else:
                        return
        except TimeoutError as error:
            text = f"the engine did not complete one token in {self._patience.canary:.0f} s: its device or its process hangs"
            raise DeviceUnusable(text, "EngineHangs") from error

    async def _once(self, body: Mapping[str, object], parse: Callable[[Any], Answer], seconds: float) -> Answer:
        timeout = aiohttp.ClientTimeout(total=seconds)
        try:
            async with self._session.post(f"{self._url}/v1/completions", json=body, timeout=timeout) as response:
                if response.status != HTTPStatus.OK:
                    await _raise_for(response)
                return parse(await read_body(response))
        except TimeoutError:
            raise
        except (aiohttp.ClientError, OSError, ValueError, UnreadableAnswerError) as error:
            raise _UnansweredError(str(error) or type(error).__name__) from error


async def _raise_for(response: aiohttp.ClientResponse) -> None:
    if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR or response.status in REPEATED:
        raise _UnansweredError(f"HTTP {response.status}")
    # The engine's words may quote a prompt: they are for the log, never for the status.
    text = await read_words(response, LONGEST_REFUSAL)
    sys.stderr.write(f"engine: HTTP {response.status}: {shown(text, 300)}\n")
    raise RequestRefusedError(response.status, _sentence(text))


def _sentence(text: str) -> str:
    """Return what an engine says is wrong, without the JSON around it."""
    try:
        match read_json(text.encode(errors="replace")):
            case {"error": {"message": str(sentence)}} | {"message": str(sentence)}:
                return shown(sentence, 300)
    except Unreadable:
        pass
    return shown(text, 300)


@asynccontextmanager
async def connect(url: str, model: str, max_model_len: int, patience: Patience = Patience()) -> AsyncIterator[Engine]:
    """Yield the engine at that URL once it is healthy, serves `model` at that length, and has completed a canary."""
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS)
    async with aiohttp.ClientSession(connector=connector, trust_env=False) as session:
        await _wait_for_health(session, url, patience, patience.start)
        await _check_model(session, url, model, max_model_len)
        engine = Engine(session, url, model, patience)
        await engine.canary()
        yield engine


async def _wait_for_health(session: aiohttp.ClientSession, url: str, patience: Patience, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            for failures in range(1 << 30):
                try:
                    async with session.get(f"{url}/health") as response:
                        if response.status == HTTPStatus.OK:
                            return
                except (aiohttp.ClientError, OSError):
                    pass
                await asyncio.sleep(min(1.0, patience.pause(failures)))
    except TimeoutError as error:
        raise DeviceUnusable(f"no healthy engine at {url} after {seconds:.0f} s; its log says why", "EngineGone") from error


async def _check_model(session: aiohttp.ClientSession, url: str, model: str, max_model_len: int) -> None:
    try:
        async with session.get(f"{url}/v1/models", timeout=aiohttp.ClientTimeout(total=60)) as response:
            body: Any = await read_body(response)
            served = {str(entry["id"]): entry["max_model_len"] for entry in body["data"]}
    except (aiohttp.ClientError, TimeoutError, OSError, UnreadableAnswerError, KeyError, TypeError) as error:
        raise DeviceUnusable(f"the engine at {url} does not say what it serves ({type(error).__name__})", "EngineGone") from error
    if model not in served:
        names = shown(", ".join(sorted(served)) or "nothing")
        raise Refused(f"the engine at {url} serves {names}, not {model}: does another server hold the port?", "WrongModel")
    if served[model] != max_model_len:
        raise Refused(
            f"the engine at {url} serves {served[model]} tokens, the run asks for maxModelLen {max_model_len}", "WrongModel"
        )
