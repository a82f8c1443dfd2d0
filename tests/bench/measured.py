"""The operator's own figures: its metrics, and what its kernel knows of its memory."""

import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import yaml
from prometheus_client.parser import text_string_to_metric_families

from rehearsal.cluster import supervise
from tests.control.access import Access
from tests.control.operator_process import PLATFORM, Operator

Call = tuple[str, str]
"""Verb and kind, as RBAC has them."""


class Memory(NamedTuple):
    """Resident, now and at its most, in MB."""

    now: float
    most: float


@dataclass(frozen=True)
class Figures:
    """Counters since the operator's start; by subtraction those of a while."""

    at: float
    calls: Counter[Call]
    visits: float
    sweeps: float
    sweep_seconds: float
    cpu_seconds: float

    def __sub__(self, earlier: "Figures") -> "Figures":
        return Figures(
            self.at - earlier.at,
            self.calls - earlier.calls,
            *(mine - theirs for mine, theirs in zip(self._sums(), earlier._sums(), strict=True)),
        )

    def _sums(self) -> tuple[float, ...]:
        return self.visits, self.sweeps, self.sweep_seconds, self.cpu_seconds


class MeasuredOperator(Operator):
    """The operator as it is shipped, with the platform's own intervals."""

    def __init__(self, access: Access, namespace: str, folder: Path) -> None:
        super().__init__(access, namespace, folder)
        (folder / "platform.yaml").write_text(yaml.safe_dump({k: v for k, v in PLATFORM.items() if k != "progressSeconds"}))

    def figures(self) -> Figures:
        """Read its metrics."""
        sums, calls = defaultdict[str, float](float), Counter[Call]()
        for family in text_string_to_metric_families(self.get("/metrics")[1]):
            for sample in family.samples:
                sums[sample.name] += sample.value
                if sample.name == "rehearsal_api_calls_total":
                    calls[sample.labels["verb"], sample.labels["kind"]] += int(sample.value)
        return Figures(
            time.monotonic(),
            calls,
            sums["rehearsal_reconciles_total"],
            sums["rehearsal_sweep_seconds_count"],
            sums["rehearsal_sweep_seconds_sum"],
            sums["process_cpu_seconds_total"],
        )

    def memory(self) -> Memory:
        """Return what its kernel says."""
        lines = Path(f"/proc/{self._pid()}/status").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        return Memory(*(int(fields[name].split()[0]) * 1024 / 1e6 for name in ("VmRSS", "VmHWM")))

    def _pid(self) -> int:
        (pid,) = supervise.below({self._process._supervisor.pid}, supervise.process_table())
        return pid
