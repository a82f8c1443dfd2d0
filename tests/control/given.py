"""A control plane that runs already and that `REHEARSAL_TEST_KUBECONFIG` names.

Not KUBECONFIG: tests write nodes, CRDs and namespaces, and the cluster that a shell points at may be in use.
"""

import json
import os
import subprocess
import tempfile
from base64 import b64decode
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from tests.control.access import Access
from tests.control.plane import ControlPlane, component


class GivenPlane(Access):
    """A control plane that runs already, with the Job controller and the garbage collector.

    Left as it is but for what tests create, and the service account that they are known by. New kinds are collected within 30 s.
    """

    def __init__(self, kubeconfig: Path) -> None:
        self._kept = tempfile.TemporaryDirectory(prefix="given-plane-")
        folder, kubectl = Path(self._kept.name), component("kubectl")
        view = [*kubectl, "config", "view", f"--kubeconfig={kubeconfig}", "--minify", "--flatten", "--raw", "--output=json"]
        cluster = json.loads(_output(view))["clusters"][0]["cluster"]
        (folder / "ca.crt").write_bytes(b64decode(cluster["certificate-authority-data"]))
        token = _administrator([*kubectl, f"--kubeconfig={kubeconfig}"])
        super().__init__(folder, kubectl, cluster["server"], folder / "ca.crt", token)
        nodes = [node["metadata"]["name"] for node in self.request("GET", "/api/v1/nodes")["items"]]
        if not all(name.startswith("player-") for name in nodes):
            raise RuntimeError(
                f"REHEARSAL_TEST_KUBECONFIG names a cluster with nodes of its own, which would run the pods: {nodes}"
            )

    def start_api_server(self) -> None:
        """Not ours to start."""
        pytest.skip("needs to stop and start the API server, and REHEARSAL_TEST_KUBECONFIG names one that is not ours")

    stop_api_server = pause_api_server = resume_api_server = start_api_server

    def stop(self) -> None:
        """Leave it running."""
        self._kept.cleanup()


Plane = ControlPlane | GivenPlane


def open_plane() -> Plane:
    """Return the control plane the environment names, or start one."""
    given = os.environ.get("REHEARSAL_TEST_KUBECONFIG")
    return GivenPlane(Path(given)) if given else ControlPlane()


def _administrator(kubectl: Sequence[str]) -> str:
    """Return a token of a service account that may do everything: a kubeconfig may know its user by a certificate or a program."""
    meta, role = {"name": "rehearsal-tests", "namespace": "kube-system"}, "rbac.authorization.k8s.io"
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}
    binding = {
        "apiVersion": f"{role}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": meta["name"]},
        "roleRef": {"apiGroup": role, "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", **meta}],
    }
    _output([*kubectl, "apply", "-f", "-"], yaml.safe_dump_all([account, binding]))
    return _output([*kubectl, "create", "token", meta["name"], "--namespace", meta["namespace"], "--duration=24h"]).strip()


def _output(command: Sequence[str], text: str | None = None) -> str:
    return subprocess.run(command, input=text, check=True, stdout=subprocess.PIPE, text=True).stdout
