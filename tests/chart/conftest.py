"""The namespaces of an install, on the control plane of the tests that need one."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.control.given import Plane


@pytest.fixture(scope="module")
def namespaces(plane: Plane) -> Iterator[list[str]]:
    """Four fresh namespaces that enforce Pod Security restricted: the release's own, two for runs, and one that is not its business."""
    names = [f"{role}-{uuid4().hex[:10]}" for role in ("ops", "team", "other", "elsewhere")]
    for name in names:
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        plane.request("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})
    yield names
    for name in names:
        plane.request("DELETE", f"/api/v1/namespaces/{name}")
        # No kubelet is there to end a bound pod that goes with its namespace.
        plane.request("DELETE", f"/api/v1/namespaces/{name}/pods", {"gracePeriodSeconds": 0})
