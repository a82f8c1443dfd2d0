"""What the GitOps tools do with runs in Git, by the engines they are made of, on the cluster of a kubeconfig.

Flux and Argo CD apply and compare as a Kustomization and an Application of theirs would. Their controllers are not here: nothing fetches
from Git, and nothing is pruned.
"""

import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import yaml

from rehearsal.api.crd import GROUP, KIND
from tests.control.access import Manifest
from tests.tools import ROOT, tool

START_SECONDS = 120.0
HEALTH = ROOT / "charts" / "rehearsal" / "gitops" / "health.lua"

Verdict = dict[str, str]
Difference = dict[str, Any]
"""What a tool would change, by its way to compare: a merge patch of the live resource. Empty where it sees no drift."""


class Failed(Exception):
    """An engine ended with these words."""


class GitOps(Protocol):
    """A GitOps tool that holds some runs as Git has them."""

    def apply(self, *runs: Manifest) -> None:
        """Bring the cluster to what the runs say."""

    def drift(self, *runs: Manifest) -> list[Difference]:
        """How each run in the cluster differs from what Git says."""

    def command(self, name: str) -> Sequence[str]:
        """Return the engine's command of this name."""

    def difference(self, told: Manifest) -> Difference:
        """How a run differs, of what the engine told of it."""


class Flux:
    """Flux's kustomize-controller."""

    def __init__(self, kubeconfig: Path) -> None:
        self._kubeconfig = kubeconfig

    def apply(self, *runs: Manifest) -> None:
        self.applied(*runs)

    def applied(self, *runs: Manifest) -> list[str]:
        """Apply, and return what that did to each run: created, configured, unchanged."""
        return [each["action"] for each in _told(self.command("apply"), runs)]

    def drift(self, *runs: Manifest) -> list[Difference]:
        return [self.difference(each) for each in _told(self.command("drift"), runs)]

    def wait(self, *runs: Manifest, seconds: float) -> None:
        """Wait as a Kustomization with `wait: true`. Raises Failed when a run stalls, or is not ready in time."""
        _output(self.command("wait", f"--timeout={seconds}s"), _text(runs))

    def command(self, name: str, *flags: str) -> Sequence[str]:
        return _command(self._kubeconfig, tool("flux"), *flags, name)

    def difference(self, told: Manifest) -> Difference:
        return {} if told["action"] == "unchanged" else {told["action"]: told.get("difference")}


class ArgoCD:
    """Argo CD's application controller: with kubectl's own way to apply, or with the sync option ServerSideApply=true."""

    def __init__(self, kubeconfig: Path, server_side: bool = False) -> None:
        self._kubeconfig, self._flags = kubeconfig, ["--server-side"] if server_side else []

    def apply(self, *runs: Manifest) -> None:
        _output(self.command("sync"), _text(runs))

    def drift(self, *runs: Manifest) -> list[Difference]:
        return [self.difference(each) for each in _told(self.command("diff"), runs)]

    def command(self, name: str) -> Sequence[str]:
        return _command(self._kubeconfig, tool("argocd"), *self._flags, name)

    def difference(self, told: Manifest) -> Difference:
        return {way: told[way] for way in ("threeWay", "structuredMerge", "serverSide") if told[way] is not None}


class Looks:
    """What a tool has seen of a run so far, look by look."""

    def __init__(self, gitops: GitOps, log: Path) -> None:
        self._gitops, self._log = gitops, log

    def have_begun(self) -> bool:
        """Whether every change from now on is looked at."""
        return bool(self._lines())

    def by_version(self) -> dict[str, Difference]:
        """How the run differed from Git, by the resource version after whose writing the tool looked."""
        return {each["version"]: self._gitops.difference(each) for each in map(json.loads, self._lines()[1:])}

    def _lines(self) -> list[str]:
        return self._log.read_text().rpartition("\n")[0].splitlines()


@contextmanager
def watched(gitops: GitOps, run: Manifest) -> Iterator[Looks]:
    """Let a tool look for drift after every change of a run, which need not be there yet. Raises Failed if it ends by itself."""
    with tempfile.TemporaryDirectory(prefix="gitops-") as folder:
        git, log, errors = (Path(folder) / name for name in ("run.yaml", "looks", "errors"))
        git.write_text(_text([run]))
        with log.open("wb") as looks, errors.open("wb") as words:
            process = subprocess.Popen([*gitops.command("follow"), str(git)], stdout=looks, stderr=words)
        try:
            found, deadline = Looks(gitops, log), time.monotonic() + START_SECONDS
            while not found.have_begun() and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            if not found.have_begun():
                raise Failed(errors.read_text())
            yield found
            if process.poll() is not None:
                raise Failed(errors.read_text())
        finally:
            process.kill()
            process.wait()


def judged_by_flux(runs: Sequence[Manifest]) -> list[Verdict]:
    """Return what kstatus makes of live runs."""
    return json.loads(_output([tool("flux"), "status"], json.dumps(runs)))


def judged_by_argo_cd(runs: Sequence[Manifest]) -> list[Verdict]:
    """Return what the chart's health script makes of live runs, in Argo CD's own runtime."""
    return json.loads(_output([tool("argocd"), f"--script={HEALTH}", f"--kind={GROUP}/{KIND}", "health"], json.dumps(runs)))


def _command(kubeconfig: Path, *words: str) -> list[str]:
    return ["env", f"KUBECONFIG={kubeconfig}", *words]


def _told(command: Sequence[str], runs: Sequence[Manifest]) -> list[Manifest]:
    """What an engine says of each run, in the runs' order: it has an order of its own."""
    told = {each["subject"]: each for each in json.loads(_output(command, _text(runs)))}
    return [told["/".join((KIND, run["metadata"]["namespace"], run["metadata"]["name"]))] for run in runs]


def _output(command: Sequence[str], text: str) -> str:
    """What a command prints that reads this text, with its path `-`."""
    done = subprocess.run([*command, "-"], input=text, capture_output=True, check=False, text=True)
    if done.returncode:
        raise Failed(done.stderr.strip())
    return done.stdout


def _text(runs: Sequence[Manifest]) -> str:
    return yaml.safe_dump_all(runs, allow_unicode=True)
