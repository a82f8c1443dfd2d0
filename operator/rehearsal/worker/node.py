"""A pod's place among the nodes of a training run: which ranks are its own."""

from dataclasses import dataclass
from typing import Self

from rehearsal.worker.context import Context


@dataclass(frozen=True)
class Node:
    """Node `index` of `count`, with `processes` ranks on each. The first one leads: it exports, seals and has the last word."""

    index: int
    count: int
    processes: int

    @classmethod
    def of(cls, context: Context) -> Self:
        """Return the place that the run and the pod's index give."""
        training = context.spec.training
        return cls(context.slot, training.nodes, training.processes_per_node)

    @property
    def leads(self) -> bool:
        """Whether this is the first node."""
        return self.index == 0

    @property
    def world(self) -> int:
        """Ranks of all nodes together."""
        return self.count * self.processes

    @property
    def ranks(self) -> range:
        """The node's own ranks: torchrun counts them node by node."""
        return range(self.index * self.processes, (self.index + 1) * self.processes)
