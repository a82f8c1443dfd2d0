"""The operator as a real process of a test, with the rights of a service account and no more."""

import asyncio
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import yaml

from tests.control.access import Access, Manifest
from tests.control.component import Component
from tests.ports import free_port

GROUP = "rehearsal.dev"
PLATFORM: Manifest = {
    "stores": {"default": {"s3": {"bucket": "rehearsal-tests"}}},
    "device": {"resource": "nvidia.com/gpu"},
    "progressSeconds": 1,
    "backoffLimit": 2,
}
RULES: Sequence[Manifest] = (
    {"apiGroups": [GROUP], "resources": ["reconstructionruns"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": [GROUP], "resources": ["reconstructionruns/status"], "verbs": ["patch"]},
    {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get", "list", "watch", "create", "delete"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["services"], "verbs": ["get", "create"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["list", "create"]},
    {"apiGroups": ["kueue.x-k8s.io"], "resources": ["workloads"], "verbs": ["list"]},
)
RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces"
START_SECONDS = 120.0


class _Process(Component):
    """A component whose end is looked at."""

    def tell_to_end(self) -> None:
        self._supervisor.terminate()

    def exit_code(self, within: float) -> int:
        return self._supervisor.wait(within)


class Operator:
    """`python -m rehearsal.controller` for one namespace. `url` is the API server's, or a proxy's before it.

    Everything blocks, and a proxy in this process needs the loop meanwhile: `async with` and `to_thread` are for that.
    """

    def __init__(self, access: Access, namespace: str, folder: Path, url: str = "", sweep_seconds: float = 60.0) -> None:
        self._port = free_port()
        self._folder = folder
        (folder / "platform.yaml").write_text(yaml.safe_dump(PLATFORM))
        self._token = account_token(access, namespace)
        kubeconfig = yaml.safe_load(access.kubeconfig_for(self._token, f"operator-{namespace}").read_text())
        kubeconfig["clusters"][0]["cluster"]["server"] = url or access.url
        (folder / "kubeconfig").write_text(yaml.safe_dump(kubeconfig))
        self._command = [
            *("env", f"KUBECONFIG={folder / 'kubeconfig'}"),
            *(sys.executable, "-m", "rehearsal.controller", "--platform", str(folder / "platform.yaml")),
            *("--namespace", namespace, "--port", str(self._port), "--sweep-seconds", str(sweep_seconds), "--log-format", "text"),
        ]

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(self, *_: object) -> None:
        """End it. Whatever a test did to it, no line of it or of kopf held its token."""
        await asyncio.to_thread(self.kill)
        assert self._token not in self.log

    @property
    def log(self) -> str:
        """Everything it has logged, over all its lives."""
        return (self._folder / "operator.log").read_text()

    def start(self) -> None:
        """Start it, or start it anew after a kill."""
        self._process = _Process(self._command, self._folder / "operator.log")
        self._process.wait_until(self.answers, START_SECONDS)

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self._process.kill()

    async def restart(self) -> None:
        """End it as `kill -9` does, and start it anew."""
        await asyncio.to_thread(self.kill)
        await asyncio.to_thread(self.start)

    def tell_to_end(self) -> None:
        """Send it what a kubelet sends: SIGTERM."""
        self._process.tell_to_end()

    def exit_code(self, within: float) -> int:
        """Wait until it ends, and return its exit code."""
        return self._process.exit_code(within)

    def answers(self) -> bool:
        """Whether its probe does."""
        try:
            return self.get("/healthz")[0] in (200, 503)
        except OSError:
            return False

    def get(self, path: str) -> tuple[int, str]:
        """Return status and text of one of its pages."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples with these labels."""
        total = 0.0
        for line in self.get("/metrics")[1].splitlines():
            sample, _, value = line.rpartition(" ")
            if sample.partition("{")[0] == name and all(f'{key}="{wanted}"' in sample for key, wanted in labels.items()):
                total += float(value)
        return total


def account_token(access: Access, namespace: str) -> str:
    """Make the operator's service account, with the rights it needs in this namespace, and return a token of it."""
    metadata = {"name": "operator", "namespace": namespace}
    subject = {"kind": "ServiceAccount", **metadata}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "operator"}
    access.request("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": metadata})
    access.request("POST", f"{RBAC}/{namespace}/roles", {"metadata": metadata, "rules": list(RULES)})
    access.request("POST", f"{RBAC}/{namespace}/rolebindings", {"metadata": metadata, "roleRef": role, "subjects": [subject]})
    return access.service_account_token(namespace, "operator")


def grant(access: Access, namespace: str, rules: Sequence[Manifest]) -> None:
    """Let the operator do this from now on, and nothing else."""
    access.request("PATCH", f"{RBAC}/{namespace}/roles/operator", {"rules": list(rules)})


def without(rules: Sequence[Mapping[str, list[str]]], resource: str, verb: str) -> list[Manifest]:
    """Return the rules less one verb on one resource."""
    return [
        {**rule, "verbs": [each for each in rule["verbs"] if each != verb]} if resource in rule["resources"] else dict(rule)
        for rule in rules
    ]


async def eventually(holds: Callable[[], bool], within: float, what: str) -> None:
    """Wait until it holds, or fail with these words. It may block: pods are played on."""
    deadline = time.monotonic() + within
    while not await asyncio.to_thread(holds):
        assert time.monotonic() < deadline, f"not within {within:.0f} s: {what}"
        await asyncio.sleep(0.1)
