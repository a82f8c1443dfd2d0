"""A proxy in front of a real S3 server that loses calls and answers, refuses, cuts off, or plays a server with a defect.

What happens to a request is a rule's decision, so that a fault meets a real server before or after the request took effect.
"""

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.contract.s3_server import S3Server, User

CANARY = "canary-in-a-server's-own-words"


class HangUp(Exception):
    """The connection ends without an answer."""


@dataclass(frozen=True)
class Answer:
    """What the client gets; of the body only `sent` bytes, if that is given, before the connection ends."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    sent: int | None = None


@dataclass(frozen=True)
class Call:
    """A request of the client's."""

    server: S3Server
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def creates(self) -> bool:
        return "If-None-Match" in self.headers

    def signed_by(self, user: User) -> bool:
        return f"Credential={user.access}/" in self.headers.get("Authorization", "")

    def answer(self) -> Answer:
        """Let the real server carry it out."""
        connection = http.client.HTTPConnection(*self.server.address, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name != "Expect"}
        try:
            connection.request(self.method, self.path, self.body, headers)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def without_precondition(self) -> "Call":
        """The same request as a server would see it that has never heard of If-None-Match."""
        kept = {name: value for name, value in self.headers.items() if name not in ("If-None-Match", "Authorization")}
        root = Credentials(self.server.root.access, self.server.root.secret)
        request = AWSRequest(self.method, f"{self.server.endpoint}{self.path}", kept, self.body)
        S3SigV4Auth(root, "s3", "us-east-1").add_auth(request)
        return replace(self, headers=dict(request.headers.items()))


Rule = Callable[[Call], Answer]


def well(call: Call) -> Answer:
    return call.answer()


def call_lost(_call: Call) -> Answer:
    raise HangUp


def answer_lost(call: Call) -> Answer:
    call.answer()
    raise HangUp


def cut_off(call: Call) -> Answer:
    answer = call.answer()
    return replace(answer, sent=len(answer.body) // 2)


def ignorant_of_preconditions(call: Call) -> Answer:
    return call.without_precondition().answer() if call.creates else call.answer()


def refusal(status: int, code: str) -> Rule:
    """The server does nothing, and says so in its own words."""
    body = f"<Error><Code>{code}</Code><Message>{CANARY}</Message></Error>".encode()
    headers = {"Content-Type": "application/xml", "Content-Length": str(len(body))}
    return lambda call: Answer(status, headers, b"" if call.method == "HEAD" else body)


slow_down = refusal(503, "SlowDown")
internal_error = refusal(500, "InternalError")
conflict = refusal(409, "ConditionalRequestConflict")
expired = refusal(400, "ExpiredToken")


@dataclass
class Proxy:
    """A running proxy. `rule` decides what happens to each request; `calls` are those that it has seen."""

    endpoint: str
    rule: Rule = well
    calls: list[Call] = field(default_factory=list)

    def at(self, k: int, rule: Rule, times: int = 1) -> None:
        """From now on treat the k-th call (from 0), and so many after it, by the rule, and all others well."""
        number = count()
        self.where(lambda _call: k <= next(number) < k + times, rule)

    def where(self, condition: Callable[[Call], bool], rule: Rule, times: int = 10**9) -> None:
        """From now on treat the first so many calls that meet the condition by the rule, and all others well."""
        number = count()
        self.rule = lambda call: (rule if condition(call) and next(number) < times else well)(call)


@contextmanager
def proxy_of(server: S3Server) -> Iterator[Proxy]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_one_request(self) -> None:
            with suppress(ConnectionError):
                super().handle_one_request()

        def serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            call = Call(server, self.command, self.path, dict(self.headers.items()), body)
            proxy.calls.append(call)
            try:
                answer = proxy.rule(call)
            except HangUp:
                self.close_connection = True
                return
            self.send_response_only(answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in ("connection", "transfer-encoding"):
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body[: answer.sent])
            self.close_connection = answer.sent is not None

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = serve  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    proxy = Proxy(f"http://127.0.0.1:{listener.server_port}")
    thread = threading.Thread(target=listener.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield proxy
    finally:
        listener.shutdown()
        thread.join()
        listener.server_close()
