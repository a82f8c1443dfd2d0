"""The client of a named OpenAI-compatible service: asks for texts, keeps to its pace, and makes sure who answers.

Refused      64  the key, the address or the request is wrong; another model answers than before, or than was asked
Unavailable  69  the service does not answer, or asks for patience, for too long

Not covered: a service that says one model's name and serves another.
"""

import asyncio
import email.utils
import random
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus

import aiohttp

from rehearsal.api.messages import Refused, Unavailable, Usage
from rehearsal.inference.body import UnreadableAnswerError, read_body
from rehearsal.inference.chat import FILTERED, Chat, ChatRequest, Said, Served, parse_chat

REPEATED = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)
DECLINED: Mapping[str, str] = {
    "content_filter": FILTERED,
    "content_policy_violation": FILTERED,
    "context_length_exceeded": "too-long",
    "string_above_max_length": "too-long",
}
"""Error codes that are about one row and not about the stage."""

Pin = Callable[[Served], Served]
"""Told who answered first; returns who answered first in the whole stage, whichever pod asked."""


@dataclass(frozen=True)
class Tolerance:
    """How long a client waits, in seconds."""

    request: float = 600
    give_up: float = 3600
    first_pause: float = 1
    longest_pause: float = 60

    def pause(self, failures: int) -> float:
        """Return a jittered pause that doubles with every failure."""
        longest: float = min(self.longest_pause, self.first_pause * 2 ** min(failures, 16))
        return longest * random.uniform(0.5, 1)  # noqa: S311 - jitter


class _UnansweredError(Exception):
    """No answer, or one that asks for patience: worth a repeat, after `after` seconds if it says so."""

    def __init__(self, text: str, after: float = 0) -> None:
        super().__init__(text)
        self.after = after


class Endpoint:
    """The model `model` behind the service `name`. Made by `connect_endpoint`."""

    def __init__(self, session: aiohttp.ClientSession, name: str, url: str, model: str, pin: Pin, tolerance: Tolerance) -> None:
        self._session, self._name, self._url, self._model = session, name, url.rstrip("/"), model
        self._pin, self._tolerance = pin, tolerance
        self._pinning, self._pinned = asyncio.Lock(), dict[Served, Served]()
        self._resume = 0.0

    async def chat(self, request: ChatRequest) -> Chat:
        """Return the service's texts, as many as were asked for, or why it declined; Unavailable when it stays away too long."""
        chat = await self._repeated(request)
        said: tuple[Said, ...] = chat.choices
        usage = chat.usage
        while chat.declined is None and len(said) < request.n:  # some services give one text, whatever they are asked for
            chat = await self._repeated(replace(request, n=request.n - len(said), seed=_next(request.seed, len(said))))
            said, usage = said + chat.choices, usage + chat.usage
        return Chat(said[: request.n], usage, chat.declined if not said else None)

    async def _repeated(self, request: ChatRequest) -> Chat:
        loop, failures = asyncio.get_running_loop(), 0
        first = loop.time()
        while True:
            await asyncio.sleep(max(0.0, self._resume - loop.time()))
            try:
                return await self._once(request)
            except (_UnansweredError, TimeoutError) as error:
                why = str(error) or "it took too long"
                after = getattr(error, "after", 0)
                if loop.time() + after - first > self._tolerance.give_up:
                    text = f"endpoint {self._name} left a request unanswered {failures + 1} times: {why}"
                    raise Unavailable(text, "EndpointUnavailable") from error
                # What one request is told to wait, all wait: they would only be told the same.
                self._resume = max(self._resume, loop.time() + after)
            await asyncio.sleep(self._tolerance.pause(failures))
            failures += 1

    async def _once(self, request: ChatRequest) -> Chat:
        timeout = aiohttp.ClientTimeout(total=self._tolerance.request)
        try:
            async with self._session.post(
                f"{self._url}/chat/completions", json=request.wire(self._model), timeout=timeout, allow_redirects=False
            ) as response:
                body = await _json(response)
                if response.status != HTTPStatus.OK:
                    return self._failure(response, body)
                chat, served = parse_chat(body)
        except TimeoutError:
            raise
        except (aiohttp.ClientError, OSError, UnreadableAnswerError) as error:
            raise _UnansweredError(type(error).__name__) from error
        await self._check(served)
        return chat

    def _failure(self, response: aiohttp.ClientResponse, body: object) -> Chat:
        """Return the answer that an error about one row stands for; raise what any other one means."""
        status = response.status
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in REPEATED:
            raise _UnansweredError(f"HTTP {status}", _retry_after(response.headers.get("Retry-After", "")))
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            raise Refused(f"endpoint {self._name} redirects; the platform must name the address itself", "EndpointRedirects")
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise Refused(f"endpoint {self._name} refuses the key (HTTP {status}): mend API_KEY in its Secret", "EndpointKey")
        if status == HTTPStatus.NOT_FOUND:
            raise Refused(f"endpoint {self._name} has no model {self._model}, or its url is wrong (HTTP 404)", "WrongModel")
        code = _code(body)
        if declined := DECLINED.get(code):
            return Chat((), Usage(), declined)
        # The service's words may quote a prompt: only its code is told.
        sys.stderr.write(f"endpoint {self._name}: HTTP {status}, code {code[:64]!r}\n")
        raise Refused(f"endpoint {self._name} refuses a request (HTTP {status}); the log has its code", "RequestRefused")

    async def _check(self, served: Served) -> None:
        """See that the model asked for answers, and that it is the one that answered first."""
        if served.model != self._model and not served.model.startswith(f"{self._model}-"):
            raise Refused(f"endpoint {self._name} serves {served.model[:253]!r}, not {self._model}", "WrongModel")
        async with self._pinning:
            if served not in self._pinned:
                self._pinned[served] = await asyncio.to_thread(self._pin, served)
        if (first := self._pinned[served]) != served:
            raise Refused(
                f"endpoint {self._name} changed in mid-stage: {_named(first)} answered first, now {_named(served)}; "
                "set spec.rerun to a new value to ask all of it anew",
                "EndpointDrifted",
            )


@asynccontextmanager
async def connect_endpoint(
    name: str, url: str, model: str, key: str | None, pin: Pin, tolerance: Tolerance = Tolerance()
) -> AsyncIterator[Endpoint]:
    """Yield the service under that base URL. It is asked for nothing yet."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=headers, trust_env=False) as session:
        yield Endpoint(session, name, url, model, pin, tolerance)


async def _json(response: aiohttp.ClientResponse) -> object:
    """Return the body, or None where a service that refuses says nothing that can be read."""
    try:
        return await read_body(response)
    except UnreadableAnswerError:
        if response.status == HTTPStatus.OK:
            raise
        return None


def _code(body: object) -> str:
    error = body.get("error") if isinstance(body, dict) else None
    return str(error.get("code") or error.get("type") or "") if isinstance(error, dict) else ""


def _retry_after(text: str) -> float:
    """Return the seconds that a Retry-After header asks for, given as such or as a date; nought where it says nothing."""
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0


def _next(seed: int | None, drawn: int) -> int | None:
    return None if seed is None else (seed + drawn) & 0x7FFF_FFFF


def _named(served: Served) -> str:
    return f"{served.model[:253]!r}" + (f" ({served.fingerprint[:64]!r})" if served.fingerprint else "")
