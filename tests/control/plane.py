"""A real control plane for tests: etcd, kube-apiserver, Job controller, garbage collector. No scheduler, and no nodes but ours.

It starts in seconds on free ports, in a folder that goes with it. `KUBEBUILDER_ASSETS` names a folder with other binaries of etcd,
kube-apiserver and kubectl. `python -m tests.control.plane` starts one and keeps it, for many short test sessions.
"""

import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.control.access import Access, Manifest
from tests.control.certificates import Authority, token_key
from tests.control.component import Component, Ended
from tests.control.flags import api_server_flags, controllers_flags, etcd_flags
from tests.ports import free_port
from tests.tools import tool

START_SECONDS = 180.0
STARTS = 3
"""An API server gives itself up that has not written its own roles within 30 s, as on a busy machine. The next one goes on from there."""
BACKOFF = "500ms"
"""Before a failed pod is replaced; it doubles with every failure. Kubernetes' own is 10 s."""
CONTROLLERS = (
    "job-controller",
    "garbage-collector-controller",
    "namespace-controller",
    "resourcequota-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "ttl-after-finished-controller",
)


class ControlPlane(Access):
    """Our own control plane, running until `stop`. The API server keeps port and data over a stop, a hang and a start."""

    def __init__(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="control-plane-"))
        authority = Authority(folder)
        self._port, self._token_key = free_port(), token_key(folder / "service-accounts.key")
        self._certificate = authority.issue("kube-apiserver")
        url, token = f"https://127.0.0.1:{self._port}", secrets.token_hex(16)
        (folder / "tokens.csv").write_text(f'{token},admin,admin,"system:masters"\n')
        super().__init__(folder, component("kubectl"), url, authority.certificate, token)
        self._etcd_port = free_port()
        self._etcd = self._start("etcd", etcd_flags(folder, self._etcd_port, free_port()))
        # An API server ends that does not reach it within 20 s.
        self._etcd.wait_until(self._keeps, START_SECONDS)
        self._serve()
        self._start_controllers()

    def start_api_server(self) -> None:
        """Start the API server, anew if it runs, and return when it is ready."""
        self._api_server.kill()
        self._serve()

    def stop_api_server(self) -> None:
        """End the API server at once: connections to it are refused from now on."""
        self._api_server.kill()

    def pause_api_server(self) -> None:
        """Make the API server hang: it accepts connections and answers nothing."""
        self._api_server.pause()

    def resume_api_server(self) -> None:
        """Let a paused API server go on."""
        self._api_server.resume()

    def apply(self, manifests: Path | Sequence[Manifest]) -> None:
        """Apply as everywhere. The controllers start anew for new CRDs: the garbage collector looks for kinds every 30 s only."""
        known = self.kinds()
        super().apply(manifests)
        if self.kinds() - known:
            self._controllers.kill()
            self._start_controllers()

    def stop(self) -> None:
        """End everything and remove the folder."""
        for server in (self._controllers, self._api_server, self._etcd):
            server.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _keeps(self) -> bool:
        """Whether etcd answers and is healthy."""
        try:
            with self._opener.open(f"http://127.0.0.1:{self._etcd_port}/health", timeout=5):
                return True
        except OSError:
            return False

    def _serve(self, starts: int = STARTS) -> None:
        flags = [
            *api_server_flags(self.folder, self._etcd_port, ("127.0.0.1", self._port), self._certificate, self._token_key),
            "--authorization-mode=RBAC",
            "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=10.0.0.0/24",
        ]
        self._api_server = self._start("kube-apiserver", flags)
        try:
            self._api_server.wait_until(self.is_ready, START_SECONDS)
        except Ended:
            if starts == 1:
                raise
            self._serve(starts - 1)

    def _start_controllers(self) -> None:
        flags = [
            *controllers_flags(self.kubeconfig, CONTROLLERS, self._token_key),
            "--kube-api-qps=1000",
            "--kube-api-burst=2000",
            "--concurrent-job-syncs=20",
        ]
        self._controllers = self._start("kube-controller-manager", flags, f"JOB_POD_FAILURE_BACKOFF={BACKOFF}")

    def _start(self, name: str, flags: Sequence[str], *variables: str) -> Component:
        return Component(["env", *variables, *component(name), *flags], self.folder / f"{name}.log", [self.folder])


def component(name: str) -> list[str]:
    """Return how to run a component: the user's own binary, or ours, built at its first use."""
    own = Path(os.environ.get("KUBEBUILDER_ASSETS", "/nonexistent")) / name
    return [str(own)] if own.is_file() else [tool("controlplane"), name]


if __name__ == "__main__":
    plane = ControlPlane()
    print(f"export REHEARSAL_TEST_KUBECONFIG={plane.kubeconfig}   # until Ctrl-C")
    try:
        signal.pause()
    finally:
        plane.stop()
