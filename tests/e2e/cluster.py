"""A cluster as its administrator sees it: kubectl, and the cluster of `make cluster` where `KUBECONFIG` names no other."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from tests.control.plane import component
from tests.tools import ROOT

Manifest = dict[str, Any]
T = TypeVar("T")

ONE_NODE = ROOT / ".cache" / "onenode" / "kubeconfig"
POLL_SECONDS = 1.0


class KubectlRefused(Exception):
    """kubectl ended with an error; the text is its own."""


@dataclass(frozen=True)
class Cluster:
    """The cluster that a kubeconfig names. `one_node`: it is ours, and its parts may be stopped."""

    kubeconfig: Path
    one_node: bool

    def kubectl(self, *arguments: str, input: str | None = None, timeout: float = 300) -> str:
        """Run kubectl and return what it prints. Raises KubectlRefused with its words."""
        done = subprocess.run(
            self.command(*arguments), input=input, capture_output=True, check=False, text=True, timeout=timeout, env=_environment()
        )
        if done.returncode:
            raise KubectlRefused(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a kubectl that goes on beside the test; both its outputs are one pipe."""
        return subprocess.Popen(
            self.command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=_environment()
        )

    def command(self, *arguments: str) -> list[str]:
        """Return how to run kubectl on this cluster."""
        return [*component("kubectl"), f"--kubeconfig={self.kubeconfig}", *arguments]

    def get(self, kind: str, name: str, namespace: str) -> Manifest:
        """Return one object, or an empty mapping."""
        text = self.kubectl("get", kind, name, f"--namespace={namespace}", "--output=json", "--ignore-not-found")
        return dict(json.loads(text)) if text.strip() else {}

    def list(self, kind: str, namespace: str, selector: str = "") -> list[Manifest]:
        """Return the objects of a kind that carry these labels."""
        text = self.kubectl("get", kind, f"--namespace={namespace}", f"--selector={selector}", "--output=json")
        return list(json.loads(text)["items"])

    def apply(self, *manifests: Manifest) -> None:
        """Apply manifests as a user does."""
        self.kubectl("apply", "--filename=-", input=yaml.safe_dump_all(manifests))

    def exec(self, namespace: str, pod: str, container: str, *command: str, timeout: float = 300) -> str:
        """Run a command in a container, and return what it prints."""
        return self.kubectl("exec", f"--namespace={namespace}", pod, f"--container={container}", "--", *command, timeout=timeout)

    def part(self, name: str, verb: str) -> None:
        """Stop or start `kubelet` or `apiserver` of our own cluster."""
        _one_node(name, verb)


def open_cluster() -> Cluster:
    """Return the cluster that `KUBECONFIG` names, or our own, started if it is not up."""
    if given := os.environ.get("KUBECONFIG"):
        return Cluster(Path(given).resolve(), one_node=Path(given).resolve() == ONE_NODE)
    _one_node("up")
    return Cluster(ONE_NODE, one_node=True)


def eventually(holds: Callable[[], T], within: float, what: str, state: Callable[[], object] = lambda: "") -> T:
    """Return the first answer that is true, or fail with these words and the state as it is then. Where kubectl is refused, ask again."""
    deadline = time.monotonic() + within
    while True:
        try:
            if answer := holds():
                return answer
        except KubectlRefused:
            if time.monotonic() > deadline:
                raise
        assert time.monotonic() < deadline, f"not within {within:.0f} s: {what}. {state()}"
        time.sleep(POLL_SECONDS)


def a_minute_passes() -> None:
    """Wait: what is looked at is that nothing happens meanwhile, or what is absent for as long."""
    time.sleep(60)


def uids(objects: Iterable[Manifest]) -> set[str]:
    """Return the identities of objects."""
    return {each["metadata"]["uid"] for each in objects}


def _one_node(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "tests.onenode", *arguments], cwd=ROOT, check=True)


def _environment() -> dict[str, str]:
    """This machine's, without the user's own settings of kubectl."""
    return {**os.environ, "KUBERC": "off"}
