"""What a person is told when a run is over, or before it starts: the plan, the headline figures, the report's page."""

from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rehearsal.api.messages import Refused
from rehearsal.api.platform import Platform
from rehearsal.api.status import Funnel, RunStatus, StageStatus, State
from rehearsal.console.live import clock
from rehearsal.console.session import recorded
from rehearsal.outside.text import shown
from rehearsal.pipeline.stage import Kind
from rehearsal.report.contents import ReportData
from rehearsal.report.page import comparison_page
from rehearsal.report.table import comparison_table
from rehearsal.store.commit import Artifact
from rehearsal.store.open import open_store

Finished = tuple[dict[str, Any], Platform, Path]
"""A manifest, its platform, and its state folder."""


def export_report(platform: Platform, manifest: dict[str, Any], status: RunStatus, state: Path) -> Path:
    """Copy the run's report out of the store, beside its state; return the page's path."""
    folder = state / "report"
    _report(platform, manifest, status).fetch_files(folder)
    return folder / "report.html"


def summary(name: str, before: RunStatus | None, status: RunStatus, page: Path) -> str:
    """Return the closing lines of a run: what ran and why, what was reused, where the report lies."""
    stages = [stage for stage in status.stages if stage.name != Kind.PREFLIGHT]
    known = {stage.sealed.fingerprint for stage in (before.stages if before else []) if stage.sealed}
    ran = [stage for stage in stages if stage.state is State.SUCCEEDED and stage.fingerprint not in known]
    there = [stage.name for stage in stages if stage not in ran]
    if ran:
        lines = [
            f"{name} is complete. What ran, and why:",
            *(f"  {stage.name:16} {_took(stage):>6}  {stage.reason}" for stage in ran),
        ]
        lines += [f"In the store already, by fingerprint: {', '.join(there)}."] if there else []
    else:
        lines = [f"{name}: nothing to do. The store holds the sealed result of every stage of this spec and these inputs."]
    if funnel := status.funnel:
        lines.append(f"Instructions: {_steps(funnel)}.")
    lines += [f"{stage.name}: {stage.message}" for stage in stages if stage.message]
    report = status.stage(Kind.REPORT)
    lines += [f"  {fact:16} {value}" for fact, value in (report.facts if report else {}).items()]
    return "\n".join(shown(line) for line in [*lines, f"Report: {page}"])


def _steps(funnel: Funnel) -> str:
    """What is left after each step, from elicited to mixed."""
    steps = ("elicited", "accepted", "considered", "answered", "judged", "kept", "mixed")
    counts = {step: getattr(funnel, step) for step in steps}
    return ", ".join(f"{count:,} {step}" for step, count in counts.items() if count is not None)


def plan_table(status: RunStatus) -> Table:
    """Return the stages with their fingerprints, what would be reused, and why the rest would run."""
    table = Table(box=None, padding=(0, 1))
    for column in ("stage", "fingerprint", "", "why"):
        table.add_column(column, overflow="fold")
    for stage in status.stages:
        if stage.name == Kind.PREFLIGHT:
            continue
        verdict, why = ("reuse", "the store holds this result already") if stage.sealed else ("run", stage.reason)
        table.add_row(stage.name, (stage.fingerprint or "")[:16], verdict, Text(shown(why)))
    return table


def print_comparison(console: Console, runs: list[Finished]) -> None:
    """Print finished runs side by side, and write the same as a page beside the first run's report."""
    reports = {}
    for manifest, platform, state in runs:
        metadata = manifest["metadata"]
        status = recorded(state, metadata) or RunStatus()
        if not (stage := status.stage(Kind.REPORT)) or stage.sealed is None:
            raise Refused(f"{metadata['name']} has no report yet: run `rehearsal run` on its manifest first", "NotFinished")
        page = export_report(platform, manifest, status, state)
        reports[metadata["name"]] = _read(page.parent / "report.json", metadata["name"])
    console.print(comparison_table(reports), markup=False, highlight=False, soft_wrap=True)
    path = runs[0][2] / "report" / "comparison.html"
    path.write_text(comparison_page(reports), encoding="utf-8")
    console.print(f"Page: {path}", markup=False, highlight=False, soft_wrap=True)


def _read(path: Path, name: str) -> ReportData:
    try:
        return ReportData.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise Refused(
            f"the report of {name} is another release's; run `rehearsal run` on its manifest again", "BadReport"
        ) from error


def _report(platform: Platform, manifest: dict[str, Any], status: RunStatus) -> Artifact:
    stage = status.stage(Kind.REPORT)
    store = platform.stores[manifest["spec"].get("store", "default")]
    fingerprint = stage.fingerprint if stage and stage.fingerprint else ""
    return Artifact(open_store(store), manifest["metadata"]["namespace"], Kind.REPORT, fingerprint, Kind.REPORT)


def _took(stage: StageStatus) -> str:
    if not stage.started_at or not stage.finished_at:
        return ""
    return clock((datetime.fromisoformat(stage.finished_at) - datetime.fromisoformat(stage.started_at)).total_seconds())
