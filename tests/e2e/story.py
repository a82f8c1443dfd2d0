"""The quickstart's run from `kubectl apply` to Complete, as whoever waits for it sees it, and the table of its stages."""

import time

from tests.e2e.cluster import Manifest
from tests.e2e.notes import Notes
from tests.e2e.runs import Run


class Glances:
    """What `kubectl get recon` showed, a line a stage."""

    def __init__(self, run: Run) -> None:
        self._run, self._last = run, ""
        self.lines: list[str] = []

    def look(self) -> None:
        """Look once, and note the line if another stage has begun."""
        if (stage := self._run.status().get("summary", "")) != self._last:
            head, line = self._run.glance().splitlines()
            self.lines += [line] if self.lines else [head, line]
            self._last = stage


def carried_out(run: Run, notes: Notes) -> Run:
    """Apply the run, wait for it, and note how it went."""
    glances, start = Glances(run), time.monotonic()
    run.apply()
    run.completes(look=glances.look)
    glances.look()
    notes.text(f"`kubectl get recon`, {run.name}: a line a stage", "\n".join(glances.lines))
    rows = [
        (name, stage["state"], _seconds(run, stage), stage.get("attempt", 0), stage["reason"])
        for name, stage in run.stages().items()
    ]
    notes.table(
        f"{run.name}: apply to Complete in {time.monotonic() - start:.0f} s", ("stage", "state", "seconds", "attempt", "why"), rows
    )
    return run


def _seconds(run: Run, stage: Manifest) -> str:
    seconds = run.seconds(stage)
    return "" if seconds is None else f"{seconds:.0f}"
