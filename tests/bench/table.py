"""The benchmark's results as a person reads them, in Markdown."""

import datetime as dt
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.bench.measured import Figures
from tests.bench.results import Phase, Result

SHARED = "the control plane, the player of the pods, this benchmark and the operator share them"


def machine(shared: str = SHARED) -> str:
    """Describe where and when it was measured, and what else took part in it."""
    cpu = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{dt.datetime.now(dt.UTC):%Y-%m-%d} · {len(os.sched_getaffinity(0))} cores of {cpu[0]}, {memory:.0f} GiB: {shared}"


def table(results: Sequence[Result]) -> str:
    """Return a column a size of fleet, a row a figure."""
    rows = [("live runs", *(str(result.runs) for result in results))]
    rows += [(name, *(cell(result) for result in results)) for name, cell in _ROWS]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|---|" + "--:|" * len(results), *lines[1:]])


def _latency(phase: Phase, figure: str) -> str:
    return f"{getattr(phase.transitions, figure):.2f} s" if phase.transitions else "–"


def _minutely(phase: Phase | None, kinds: Sequence[tuple[str, str]] = ()) -> str:
    if phase is None:
        return "–"
    calls = sum(phase.figures.calls[call] for call in kinds) if kinds else phase.figures.calls.total()
    return f"{calls * 60 / phase.figures.at:.0f}"


def _sweep(phase: Phase | None) -> str:
    figures = phase.figures if phase else None
    return f"{figures.sweep_seconds / figures.sweeps:.2f} s" if figures and figures.sweeps else "–"


def _busy(phase: Phase | None) -> str:
    return f"{100 * phase.figures.cpu_seconds / phase.figures.at:.0f} %" if phase else "–"


def _cpu(figures: Figures) -> str:
    return f"{1000 * figures.cpu_seconds / max(figures.calls['create', 'Job'], 1):.0f} ms"


def _throughput(figures: Figures) -> str:
    return f"{figures.calls['create', 'Job'] / figures.at:.1f}/s"


_ROWS: Sequence[tuple[str, Callable[[Result], str]]] = (
    ("Jobs by then", lambda r: str(r.jobs)),
    ("load average before", lambda r: f"{r.load:.1f}"),
    ("**completion → next Job, p50**", lambda r: _latency(r.steady, "p50")),
    ("**p99**", lambda r: _latency(r.steady, "p99")),
    ("longest", lambda r: _latency(r.steady, "longest")),
    ("transitions", lambda r: str(r.steady.transitions.count if r.steady.transitions else 0)),
    ("mean by the API server's stamps, less ours", lambda r: _latency(r.steady, "skew")),
    ("**API calls a transition**", lambda r: f"{r.calls_a_transition:.1f}"),
    ("**RSS**, all live", lambda r: f"{r.memory.now:.0f} MB"),
    ("RSS, at the end", lambda r: f"{r.last_memory.now:.0f} MB"),
    ("RSS, the most", lambda r: f"{r.last_memory.most:.0f} MB"),
    ("**API calls a minute**, all live", lambda r: _minutely(r.rest)),
    ("of these reads of logs", lambda r: _minutely(r.rest, [("get", "Pod/log")])),
    ("of these writes of progress", lambda r: _minutely(r.rest, [("patch", "ReconstructionRun/status")])),
    ("API calls a minute, all complete", lambda r: _minutely(r.complete)),
    ("**one sweep**, all live", lambda r: _sweep(r.rest)),
    ("one sweep, all complete", lambda r: _sweep(r.complete)),
    ("a core, all live", lambda r: _busy(r.rest)),
    ("a core, all complete", lambda r: _busy(r.complete)),
    ("all started at once: Jobs", lambda r: _throughput(r.start.figures)),
    ("all started at once: CPU a Job", lambda r: _cpu(r.start.figures)),
    (
        "all started at once: API calls a Job",
        lambda r: f"{r.start.figures.calls.total() / r.start.figures.calls['create', 'Job']:.1f}",
    ),
    ("all started at once: completion → next Job, p50", lambda r: _latency(r.start, "p50")),
    ("all started at once: p99", lambda r: _latency(r.start, "p99")),
)
