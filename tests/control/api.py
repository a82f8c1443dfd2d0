"""The API server over plain HTTP and JSON, for tests that hold thousands of objects: one session, one watch at a time."""

import json
from collections.abc import AsyncIterator
from typing import Any, Self

import aiohttp

from tests.control.access import Access, Manifest, Refused

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


class Api:
    """The administrator's requests, inside `async with`."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def __aenter__(self) -> Self:
        headers = {"Authorization": f"Bearer {self._access.token}"}
        connector = aiohttp.TCPConnector(ssl=self._access.ssl, limit=0)
        self._session = aiohttp.ClientSession(self._access.url, connector=connector, headers=headers)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def get(self, path: str, **query: str) -> Manifest:
        """Read an object or a list."""
        return await self._send("GET", path, params=query)

    async def text(self, path: str, **query: str) -> str:
        """Read what is no object, such as a log."""
        return await self._text("GET", path, params=query)

    async def create(self, path: str, body: Manifest) -> Manifest:
        """Create an object, or a subresource such as a binding."""
        return await self._send("POST", path, json=body)

    async def patch(self, path: str, body: Manifest, kind: str = MERGE) -> Manifest:
        """Patch an object."""
        return await self._send("PATCH", path, data=json.dumps(body), headers={"Content-Type": kind})

    async def delete(self, path: str, **options: Any) -> Manifest:
        """Delete an object, or with a list's path all of it; the options are those of DeleteOptions."""
        return await self._send("DELETE", path, json={"kind": "DeleteOptions", "apiVersion": "v1", **options})

    async def watch(self, path: str) -> AsyncIterator[tuple[str, Manifest]]:
        """Yield what is there, as LIST and then as ADDED, then every change, as (type, object), until the connection ends."""
        found = await self.get(path)
        yield "LIST", found
        for item in found["items"]:
            yield "ADDED", item
        query = {"watch": "true", "resourceVersion": found["metadata"]["resourceVersion"]}
        timeout = aiohttp.ClientTimeout(total=None)
        async with self._session.get(path, params=query, timeout=timeout, read_bufsize=2**22) as answer:
            async for line in answer.content:
                event = json.loads(line)
                yield event["type"], event["object"]

    async def _send(self, method: str, path: str, **arguments: Any) -> Manifest:
        text = await self._text(method, path, **arguments)
        return json.loads(text) if text.startswith("{") else {}

    async def _text(self, method: str, path: str, **arguments: Any) -> str:
        async with self._session.request(method, path, **arguments) as answer:
            text = await answer.text()
        if answer.status >= 400:
            raise Refused(answer.status, text)
        return text
