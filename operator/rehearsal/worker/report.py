"""Write the report of a run: what its stages sealed, as a page for people and as data for programs. Deterministic."""

from pathlib import Path

from rehearsal.report.categories import Category, parse
from rehearsal.report.contents import Elicitation, Evaluation, Judging, ReportData, StageFigures
from rehearsal.report.page import report_page
from rehearsal.report.reconstruction import elicitation, judging
from rehearsal.report.scores import collect, evaluation
from rehearsal.store.commit import Manifest
from rehearsal.worker.context import Context, Outcome
from rehearsal.worker.inputs import bring_input


def run(context: Context) -> Outcome:
    """Seal report.html and report.json; sections of what the run did not do are left out."""
    if sealed := context.output.manifest():
        return Outcome(sealed)
    report = _read(context)
    files = {"report.html": report_page(report).encode(), "report.json": report.encode()}
    added = [context.output.add_file(name, _written(context.scratch / name, data)) for name, data in files.items()]
    context.progress(len(files), len(files), "files")
    return Outcome(context.output.seal(shards=0, files=added, facts=report.headlines()))


def _read(context: Context) -> ReportData:
    seals = {label: context.input(label).sealed() for label in context.stage.inputs}
    return ReportData(
        stages=[_stage(label, manifest) for label, manifest in seals.items()],
        elicitation=_elicitation(context, seals),
        judging=_judging(context, seals),
        mixture=seals["mix"].facts,
        training=seals["train"].facts,
        evaluation=_evaluation(context, seals),
    )


def _stage(label: str, manifest: Manifest) -> StageFigures:
    return StageFigures(name=label, fingerprint=manifest.fingerprint, rows=manifest.rows, refused=manifest.refused)


def _elicitation(context: Context, seals: dict[str, Manifest]) -> Elicitation | None:
    if "filter" not in seals:
        return None
    texts = (str(row["text"]) for row in context.input("filter").rows())
    return elicitation(texts, seals["filter"].refused, _categories(context))


def _categories(context: Context) -> tuple[Category, ...]:
    if "categories" not in context.stage.external:
        return ()
    return parse(bring_input(context, "categories").read_bytes())


def _judging(context: Context, seals: dict[str, Manifest]) -> Judging | None:
    made = context.spec.reconstructed
    if made is None or "select" not in seals:
        return None
    members = [member.name for member in made.committee.members]
    return judging(context.input("select").rows(), seals["select"].facts, members)


def _evaluation(context: Context, seals: dict[str, Manifest]) -> Evaluation | None:
    if not {"evaluate-base", "evaluate-tuned"} <= seals.keys():
        return None
    base, tuned = (collect(context.input(f"evaluate-{model}").rows(), model) for model in ("base", "tuned"))
    return evaluation(base, tuned, seals["evaluate-base"].fingerprint)


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
