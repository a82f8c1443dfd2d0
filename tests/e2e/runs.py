"""A run on the cluster: its manifest, what can be seen of it, and what may be done to it."""

import copy
import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import yaml

from tests.e2e.cluster import Cluster, Manifest, eventually
from tests.tools import ROOT

QUICKSTART = ROOT / "examples" / "quickstart"
NAMESPACE = "rehearsal-e2e"
TWO_PODS = {"nodes": 2, "processesPerNode": 1}
"""The one change to the laptop's manifest: its two ranks train in two pods. Both are the same stage."""
TO_COMPLETE = 45 * 60.0
CHILDREN = ("jobs", "pods", "services")


def quickstart(name: str = "quickstart", namespace: str = NAMESPACE, **spec: Any) -> Manifest:
    """Return the quickstart's own manifest for a cluster; `spec` is merged over its fields."""
    manifest: Manifest = yaml.safe_load((QUICKSTART / "run.yaml").read_text())
    manifest["metadata"] = {"name": name, "namespace": namespace}
    return merged(manifest, {"spec": merged({"training": TWO_PODS}, spec)})


def merged(below: Manifest, above: Manifest) -> Manifest:
    """Lay one mapping over another, mapping by mapping."""
    result = copy.deepcopy(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else copy.deepcopy(value)
    return result


@dataclass(frozen=True)
class Run:
    """A run of the cluster, by its manifest as it was applied."""

    cluster: Cluster
    manifest: Manifest

    @property
    def name(self) -> str:
        return str(self.manifest["metadata"]["name"])

    @property
    def namespace(self) -> str:
        return str(self.manifest["metadata"]["namespace"])

    def apply(self) -> "Run":
        """Apply the manifest."""
        self.cluster.apply(self.manifest)
        return self

    def patch(self, spec: Manifest) -> None:
        """Edit fields of the spec."""
        change = json.dumps({"spec": spec})
        self.cluster.kubectl("patch", "recon", self.name, f"--namespace={self.namespace}", "--type=merge", f"--patch={change}")

    def delete(self) -> None:
        """Delete the run, and wait until it is gone."""
        self.cluster.kubectl("delete", "recon", self.name, f"--namespace={self.namespace}", "--ignore-not-found", "--timeout=240s")

    def glance(self) -> str:
        """What `kubectl get recon` shows of it."""
        return self.cluster.kubectl("get", "recon", self.name, f"--namespace={self.namespace}").strip()

    def seen(self) -> Manifest:
        """The object as it is now."""
        return self.cluster.get("recon", self.name, self.namespace)

    def status(self) -> Manifest:
        return dict(self.seen().get("status") or {})

    def stages(self) -> dict[str, Manifest]:
        """The status of every stage, by name."""
        return {stage["name"]: stage for stage in self.status().get("stages") or []}

    def stage(self, name: str) -> Manifest:
        """The status of a stage, or an empty mapping."""
        return self.stages().get(name, {})

    def condition(self, kind: str) -> Manifest:
        """One condition, or an empty mapping."""
        return next((each for each in self.status().get("conditions") or [] if each["type"] == kind), {})

    def is_(self, condition: str) -> bool:
        return self.condition(condition).get("status") == "True"

    def children(self, kind: str, stage: str = "") -> list[Manifest]:
        """The run's Jobs, pods or Services, of one stage or of all."""
        selector = f"rehearsal.dev/run-uid={self.seen()['metadata']['uid']}"
        return self.cluster.list(kind, self.namespace, f"{selector},rehearsal.dev/stage={stage}" if stage else selector)

    def says(self, stage: str, words: str) -> list[str]:
        """What the pods of a stage that are there have logged after these words, in their main containers."""
        uid = self.seen()["metadata"]["uid"]
        labels = f"rehearsal.dev/run-uid={uid},rehearsal.dev/stage={stage}"
        log = self.cluster.kubectl("logs", f"--namespace={self.namespace}", f"--selector={labels}", "--container=main", "--tail=-1")
        return [line.partition(words)[2].strip() for line in log.splitlines() if words in line]

    def pods_at_work(self, stage: str) -> list[Manifest]:
        """The stage's pods whose main container runs and that nobody has told to end."""
        return [pod for pod in self.children("pods", stage) if _works(pod)]

    def reaches(self, what: str, holds: Callable[[], Any], within: float = TO_COMPLETE) -> Any:
        """Return what becomes true of the run; fails as soon as the run has failed."""

        def looked() -> Any:
            if self.is_("Failed"):
                raise AssertionError(f"{self.name} failed before {what}: {self.condition('Failed')['message']}")
            return holds()

        return eventually(looked, within, f"{self.name}: {what}", self.glance)

    def works_on(self, stage: str, pods: int = 1) -> list[Manifest]:
        """Wait until so many pods of the stage are at work, and return them."""

        def at_work() -> list[Manifest]:
            found = self.pods_at_work(stage)
            return found if len(found) >= pods else []

        return list(self.reaches(f"{stage} is at work", at_work))

    def completes(self, within: float = TO_COMPLETE, look: Callable[[], None] = lambda: None) -> None:
        """Wait as a user does, with kubectl; `look` is called meanwhile. Fails as soon as the run has failed."""
        waiting = self.cluster.start(
            *("wait", "--for=condition=Complete", f"recon/{self.name}", f"--namespace={self.namespace}", f"--timeout={within:.0f}s")
        )

        def ended() -> bool:
            look()
            return _ended(waiting)

        try:
            self.reaches("Complete", ended, within + 60)
        finally:
            waiting.kill()
            said, _ = waiting.communicate()
        assert waiting.returncode == 0, said

    def seconds(self, stage: Manifest) -> float | None:
        """How long a stage's Job took."""
        if not stage.get("startedAt") or not stage.get("finishedAt"):
            return None
        return (datetime.fromisoformat(stage["finishedAt"]) - datetime.fromisoformat(stage["startedAt"])).total_seconds()


def everything_of(cluster: Cluster, namespace: str, run: str) -> set[str]:
    """Return what is there of a run, by its name: it may be gone."""
    found = {kind: cluster.list(kind, namespace, f"rehearsal.dev/run={run}") for kind in CHILDREN}
    return {f"{kind}/{each['metadata']['name']}" for kind, there in found.items() for each in there}


def _works(pod: Manifest) -> bool:
    statuses = pod["status"].get("containerStatuses") or []
    return "deletionTimestamp" not in pod["metadata"] and any("running" in (each.get("state") or {}) for each in statuses)


def _ended(process: subprocess.Popen[str]) -> bool:
    return process.poll() is not None
