"""What a measurement of one size of fleet found."""

from dataclasses import dataclass

from tests.bench.latency import Summary
from tests.bench.measured import Figures, Memory


@dataclass(frozen=True)
class Phase:
    """One phase of a measurement, and the transitions that were seen in it."""

    figures: Figures
    transitions: Summary | None


@dataclass(frozen=True)
class Result:
    """What was measured with so many runs. `start`: from apply until all work; `rest`: all work; `complete`: all is over."""

    runs: int
    jobs: int
    load: float
    start: Phase
    rest: Phase
    steady: Phase
    memory: Memory
    complete: Phase | None
    last_memory: Memory

    @property
    def calls_a_transition(self) -> float:
        """What the steady phase needed beyond the calls of rest, for each Job that it created."""
        at_rest = self.rest.figures.calls.total() * self.steady.figures.at / self.rest.figures.at
        return (self.steady.figures.calls.total() - at_rest) / max(self.steady.figures.calls["create", "Job"], 1)
