"""A small real HTTP server that speaks a model hub's language, and can be told to be gated, absent, broken or dishonest."""

import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = (".safetensors", ".parquet")


@dataclass
class HubServer:
    """Repositories by "models/owner/name" or "datasets/owner/name". `gets` counts the downloads of each whole file.

    `says` is the hub's own message with an error; `answers_with` is a commit that nobody asked for.
    With `files_alone` what a repository holds is told to everyone, as the real hub does of gated ones.
    """

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    commit: str = COMMIT
    token: str | None = None
    status: int = 200
    error_code: str | None = None
    files_alone: bool = False
    says: str | None = None
    answers_with: str | None = None
    license: str = "llama3"
    dishonest: set[str] = field(default_factory=set)
    gets: Counter[str] = field(default_factory=Counter)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def running(self) -> Iterator["HubServer"]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *arguments: object) -> None:
                pass

            def do_HEAD(self) -> None:
                hub.answer(self, body=False)

            def do_GET(self) -> None:
                hub.answer(self, body=True)

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def answer(self, request: BaseHTTPRequestHandler, body: bool) -> None:
        parts = unquote(urlsplit(request.path).path).strip("/").split("/")
        if self.files_alone and parts[0] == "api":
            return self._info(request, "/".join(parts[1:4]), parts[5] if parts[4:5] == ["revision"] else None)
        if self.status != 200 or (self.token and request.headers.get("Authorization") != f"Bearer {self.token}"):
            code = self.status if self.status != 200 else 403
            told = {"X-Error-Code": self.error_code, "X-Error-Message": self.says}
            return self._send(request, code, b"{}", {name: text for name, text in told.items() if text}, body)
        if parts[0] == "api":
            return self._info(request, "/".join(parts[1:4]), parts[5] if parts[4:5] == ["revision"] else None)
        folder = parts[: parts.index("resolve")]
        name = "/".join(folder if folder[0] == "datasets" else ["models", *folder])
        return self._file(request, name, "/".join(parts[parts.index("resolve") + 2 :]), body)

    def _info(self, request: BaseHTTPRequestHandler, name: str, revision: str | None) -> None:
        if name not in self.repositories:
            return self._send(request, 404, b"{}", {"X-Error-Code": "RepoNotFound"}, True)
        if revision not in (None, self.commit):
            return self._send(request, 404, b"{}", {"X-Error-Code": "RevisionNotFound"}, True)
        siblings = [_sibling(path, data) for path, data in self.repositories[name].items()]
        identity = name.partition("/")[2]
        found = {
            "id": identity,
            "sha": self.answers_with or self.commit,
            "siblings": siblings,
            "cardData": {"license": self.license},
        }
        return self._send(request, 200, json.dumps(found).encode(), {}, True)

    def _file(self, request: BaseHTTPRequestHandler, name: str, path: str, body: bool) -> None:
        data = self.repositories.get(name, {}).get(path)
        if data is None:
            return self._send(request, 404, b"", {"X-Error-Code": "EntryNotFound"}, body)
        etag = hashlib.sha256(data).hexdigest()
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": self.commit}
        if part := re.fullmatch(r"bytes=0-(\d+)", request.headers.get("Range", "")):
            return self._send(request, 206, data[: int(part[1]) + 1], headers, body)
        self.gets[path] += body
        data = bytes(len(data)) if path in self.dishonest else data
        return self._send(request, 200, data, headers, body)

    @staticmethod
    def _send(request: BaseHTTPRequestHandler, status: int, data: bytes, headers: dict[str, str], body: bool) -> None:
        request.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            request.send_header(name, value)
        request.end_headers()
        if body:
            request.wfile.write(data)


def _sibling(path: str, data: bytes) -> dict[str, object]:
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    entry: dict[str, object] = {"rfilename": path, "size": len(data), "blobId": blob}
    if path.endswith(LARGE):
        entry["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return entry
