"""What several contract suites stand on: a real S3 server, a bucket of it seen through a proxy that can do harm, a real API server."""

import time
from collections.abc import Callable, Iterator

import pytest

from rehearsal.store.s3 import S3Store
from rehearsal.store.s3_connection import Patience
from tests.contract.cluster_jobs import NAMESPACE
from tests.contract.s3_faults import Proxy, proxy_of
from tests.contract.s3_server import S3Server, s3_server
from tests.control.access import Access, Refused


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def proxy(s3: S3Server) -> Iterator[Proxy]:
    with proxy_of(s3) as proxy:
        yield proxy


@pytest.fixture
def bucket(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new bucket of the root user's, whose credentials boto3 finds."""
    for name, value in s3.root.environment.items():
        monkeypatch.setenv(name, value)
    return s3.new_bucket()


@pytest.fixture
def connect(proxy: Proxy, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., S3Store]:
    """Opens the bucket through the proxy; nothing waits between its attempts."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)

    def connected(prefix: str = "", attempts: int = 3) -> S3Store:
        return S3Store(bucket, prefix, proxy.endpoint, patience=Patience(attempts, 60, 60, pauses=(0, 0)))

    return connected


@pytest.fixture
def store(connect: Callable[..., S3Store]) -> S3Store:
    return connect()


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts as small as S3 takes them."""
    monkeypatch.setattr("rehearsal.store.parts.PART", 5 << 20)


@pytest.fixture
def research(served: Access) -> Access:
    """The control plane, with an empty namespace for the test."""
    try:
        served.request("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    except Refused as error:
        assert error.code == 409
    kinds = ["apis/rehearsal.dev/v1alpha1/{}/reconstructionruns", "apis/batch/v1/{}/jobs", "api/v1/{}/pods", "api/v1/{}/events"]
    paths = ["/" + kind.format(f"namespaces/{NAMESPACE}") for kind in kinds]
    deadline = time.monotonic() + 120
    while not _emptied(served, paths):
        assert time.monotonic() < deadline, "the namespace does not become empty"
    return served


def _emptied(server: Access, paths: list[str]) -> bool:
    """Whether nothing is there; asks for the deletion of what is."""
    try:
        if not any(server.request("GET", path)["items"] for path in paths):
            return True
        for path in paths:
            server.request("DELETE", path, {"propagationPolicy": "Background", "gracePeriodSeconds": 0})
    except Refused as error:
        assert error.code == 429, "a kind is only told to be loading when its definition is new"
    return False
