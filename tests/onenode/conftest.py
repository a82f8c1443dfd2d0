"""The cluster on this machine, brought up if it is not, with the tests' probe on its node; and a namespace a test."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.control.access import Access
from tests.onenode import cluster, images, plane
from tests.onenode.layout import TOOLS_FOLDER
from tests.tools import tool

PROBE = "rehearsal.dev/probe:1"


def probe_program() -> Path:
    """Return the probe, which tests run in pods."""
    return Path(tool("probe", TOOLS_FOLDER))


@pytest.fixture(scope="session")
def onenode() -> Access:
    """The administrator's access to the cluster. It stays up afterwards."""
    cluster.up()
    images.provide(PROBE, probe_program())
    return plane.access()


@pytest.fixture
def namespace(onenode: Access) -> Iterator[str]:
    """A namespace that enforces Pod Security restricted."""
    name = f"onenode-{uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    onenode.request("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})
    account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
    onenode.kubectl("wait", "--for=create", f"--namespace={name}", "serviceaccount/default", "--timeout=240s")
    onenode.request("PATCH", account, {"automountServiceAccountToken": False})
    yield name
    onenode.request("DELETE", f"/api/v1/namespaces/{name}")
