"""What befalls a run on a real cluster, and what is held against it afterwards: what was committed is never done again."""

import json
import os
import re
import signal
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.bucket import Bucket, written_at
from tests.e2e.cluster import Cluster, Manifest
from tests.e2e.runs import Run

MEMORY_HOG = """
open('/proc/1/oom_score_adj', 'w').write('1000')
held = []
while True:
    held.append(b'x' * 2**26)
"""
"""Fills the container's memory, and has its first process die of it."""
KEPT = re.compile(r"/(commit\.json|manifest\.json|seal\.json|data-[0-9a-f]+\.jsonl\.zst|attempts/[0-9a-f]{8}/[0-9]+)$")
"""Shards, their rows and the starts of their making; outputs; checkpoints."""


@dataclass
class Commits:
    """What a run has committed, as it was when it was first seen, and how often its shards had been begun by then."""

    bucket: Bucket
    run: Run
    seen: dict[str, str] = field(default_factory=dict)

    def grow(self, stage: str, kind: str = "/commit.json") -> None:
        """Wait until the stage has committed more than was seen; all there is now is remembered."""
        with self.bucket.reached() as s3:
            output = self.run.reaches(f"{stage} is known", lambda: self.run.stage(stage).get("output"))
            count = len(self._of(self.seen, output, kind))
            self.run.reaches(f"{stage} has another {kind}", lambda: len(self._of(written_at(s3, output), output, kind)) > count)
        self.remember()

    def remember(self) -> None:
        """Remember all that is there now and was not seen before."""
        self.seen = self._all() | self.seen

    def changed(self) -> list[str]:
        """Return what was written again or is gone since, and starts of shards that had been committed: work done twice."""
        now = self._all()
        shards = tuple(key.removesuffix("commit.json") for key in self.seen if key.endswith("/commit.json"))
        again = [key for key in now.keys() - self.seen.keys() if shards and key.startswith(shards)]
        return sorted([*(key for key, written in self.seen.items() if now.get(key) != written), *again])

    def checkpoint(self, stage: str) -> int:
        """The step of the last sealed checkpoint that was seen."""
        return max(int(key.split("/")[-2]) for key in self._of(self.seen, self.run.stage(stage)["output"], "/seal.json"))

    def _all(self) -> dict[str, str]:
        outputs = [stage["output"] for stage in self.run.stages().values() if stage.get("output")]
        with self.bucket.reached() as s3:
            return {key: at for output in outputs for key, at in written_at(s3, output).items() if KEPT.search(key)}

    def _of(self, keys: Iterable[str], output: str, kind: str) -> list[str]:
        return [key for key in keys if key.startswith(f"{output}/") and key.endswith(kind)]


def evict(cluster: Cluster, pod: Manifest) -> None:
    """Evict a pod through the eviction API, as a drain does."""
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": namespace}}
    path = f"/api/v1/namespaces/{namespace}/pods/{name}/eviction"
    cluster.kubectl("create", "--raw", path, "--filename=-", input=json.dumps(eviction))


def kill(pod: Manifest, container: str) -> None:
    """Send a container's processes SIGKILL, on the node that this machine is: nobody inside can do that to the first of them."""
    identity = str(_status(pod, container)["containerID"]).rpartition("/")[2]
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if identity in (process / "cgroup").read_text():
                os.kill(int(process.name), signal.SIGKILL)


def restarts(pod: Manifest, container: str) -> int:
    """How often a container of a pod was started again."""
    return int(_status(pod, container).get("restartCount", 0))


def last_end(pod: Manifest, container: str) -> str:
    """Why a container ended the last time, in the kubelet's word."""
    return str(((_status(pod, container).get("lastState") or {}).get("terminated") or {}).get("reason", ""))


def _status(pod: Manifest, container: str) -> Manifest:
    found = (pod["status"].get("initContainerStatuses") or []) + (pod["status"].get("containerStatuses") or [])
    return next((status for status in found if status["name"] == container), {})
