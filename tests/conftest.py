"""The control plane of a test session, started when a test asks for it; a namespace a test; who plays its pods. No hurry, and no proxy."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings

from tests.control.given import Plane, open_plane
from tests.control.operator_process import Operator
from tests.control.player import Player

# By default an example that takes longer than 200 ms fails, as any may on a machine that others share.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


@pytest.fixture(scope="session", autouse=True)
def directly() -> Iterator[None]:
    """No proxy that the environment names stands between a test and its own servers."""
    with pytest.MonkeyPatch.context() as environment:
        for name in ("NO_PROXY", "no_proxy"):
            environment.setenv(name, ",".join(filter(None, (os.environ.get(name), "127.0.0.1,localhost"))))
        yield


@pytest.fixture(scope="session")
def plane() -> Iterator[Plane]:
    """One control plane a session and worker, started for the first test that asks for it."""
    plane = open_plane()
    yield plane
    plane.stop()


@pytest.fixture
def namespace(plane: Plane) -> Iterator[str]:
    """A fresh namespace as the chart prepares it: Pod Security restricted, and the workers' service account."""
    name = f"test-{uuid4().hex[:10]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    plane.request("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})
    account = {"metadata": {"name": "rehearsal-worker"}, "automountServiceAccountToken": False}
    plane.request("POST", f"/api/v1/namespaces/{name}/serviceaccounts", account)
    yield name
    if not plane.is_ready():
        plane.start_api_server()
    plane.request("DELETE", f"/api/v1/namespaces/{name}")
    # No kubelet is there to end a bound pod that goes with its namespace.
    plane.request("DELETE", f"/api/v1/namespaces/{name}/pods", {"gracePeriodSeconds": 0})


@pytest.fixture
async def player(plane: Plane, namespace: str) -> AsyncIterator[Player]:
    """Plays the pods of the test's namespace."""
    async with Player(plane, namespace) as player:
        yield player


@pytest.fixture(scope="session")
def served(plane: Plane) -> Plane:
    """The control plane, with our kind in it."""
    plane.apply(Path(__file__).parents[1] / "crds")
    return plane


@pytest.fixture
async def operator(served: Plane, namespace: str, tmp_path: Path) -> AsyncIterator[Operator]:
    """The operator at work in the test's namespace."""
    async with Operator(served, namespace, tmp_path) as operator:
        yield operator
