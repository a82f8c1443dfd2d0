"""Which runs wait for a Job of another run: what happens to that Job wakes them too.

A hint and no more: a run that is not found here looks by itself a little later.
"""

from rehearsal.api.status import RunStatus, State
from rehearsal.cluster.port import Manifest
from rehearsal.controller.queue import Key
from rehearsal.manifests.jobs import LABEL, fingerprint_label

Work = tuple[str, str]
"""What is waited for: namespace, and a stage's fingerprint as a label has it."""


class Waiters:
    """The runs that wait, by what they wait for."""

    def __init__(self) -> None:
        self._waits: dict[Key, frozenset[Work]] = {}
        self._runs: dict[Work, set[Key]] = {}

    def record(self, run: Key, status: RunStatus | None) -> None:
        """Take in what a run waits for by its latest status; None: it is gone."""
        for work in self._waits.pop(run, frozenset()):
            self._runs[work].discard(run)
            if not self._runs[work]:
                del self._runs[work]
        if awaited := _awaited(run[0], status):
            self._waits[run] = awaited
            for work in awaited:
                self._runs.setdefault(work, set()).add(run)

    def of(self, item: Manifest) -> frozenset[Key]:
        """Return the runs that wait for this Job, if it is one."""
        if item["kind"] != "Job":
            return frozenset()
        metadata = item["metadata"]
        label = (metadata.get("labels") or {}).get(f"{LABEL}/fingerprint", "")
        return frozenset(self._runs.get((metadata["namespace"], label), ()))


def _awaited(namespace: str, status: RunStatus | None) -> frozenset[Work]:
    waiting = [stage for stage in status.stages if stage.state is State.WAITING and stage.job is None] if status else []
    return frozenset((namespace, fingerprint_label(stage.fingerprint)) for stage in waiting if stage.fingerprint)
