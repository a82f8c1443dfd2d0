"""Write the report of a run: what its stages sealed, as a page for people and as data for programs. Deterministic."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from rehearsal.outside.yaml_text import MAX_BYTES
from rehearsal.pipeline.reconstruction import Round
from rehearsal.report.categories import Category, parse
from rehearsal.report.contents import Elicitation, Evaluation, Funnel, Judging, ReportData, StageFigures
from rehearsal.report.funnel import funnel, shifts
from rehearsal.report.losses import warning
from rehearsal.report.page import report_page
from rehearsal.report.reconstruction import elicitation, judging
from rehearsal.report.scores import collect, evaluation
from rehearsal.store.commit import Manifest
from rehearsal.worker.context import Context, Outcome
from rehearsal.worker.inputs import read_input


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
    seals = _sealed(context, context.stage.inputs.values())
    rounds = _rounds(context, seals)
    seals |= _sealed(context, (name for names in rounds[1:] for name in (names.elicited, *names.judged.values())))
    categories = _categories(context)
    elicited = _elicitation(context, rounds, seals, categories)
    return ReportData(
        stages=[_stage(name, manifest) for name, manifest in seals.items()],
        elicitation=elicited,
        judging=_judging(context, seals),
        funnel=_funnel(context, seals, elicited, categories),
        mixture=seals["mix"].facts,
        training=seals["train"].facts,
        evaluation=_evaluation(context, seals),
    )


def _sealed(context: Context, stages: Iterable[str]) -> dict[str, Manifest]:
    return {name: context.artifact(name).sealed() for name in stages}


def _rounds(context: Context, seals: dict[str, Manifest]) -> list[Round]:
    """Return the rounds that selection read, which is written in its seal: the run may have found that seal in the store."""
    made = context.spec.reconstructed
    if made is None:
        return []
    return [Round.of(made, number) for number in range(1, int(seals["select"].facts["rounds"]) + 1)]


def _stage(name: str, manifest: Manifest) -> StageFigures:
    return StageFigures(name=name, fingerprint=manifest.fingerprint, rows=manifest.rows, refused=manifest.refused)


def _elicitation(
    context: Context, rounds: list[Round], seals: dict[str, Manifest], categories: Sequence[Category]
) -> Elicitation | None:
    if not rounds:
        return None
    texts = (str(row["text"]) for names in rounds for row in context.artifact(names.instructions).rows())
    refused: Counter[str] = Counter()
    for names in rounds:
        refused.update(seals[names.instructions].refused)
    return elicitation(texts, dict(sorted(refused.items())), categories)


def _categories(context: Context) -> tuple[Category, ...]:
    if "categories" not in context.stage.external:
        return ()
    return parse(read_input(context, "categories", MAX_BYTES))


def _judging(context: Context, seals: dict[str, Manifest]) -> Judging | None:
    made = context.spec.reconstructed
    if made is None:
        return None
    members = [member.name for member in made.committee.members]
    return judging(context.input("select").rows(), seals["select"].facts, members)


def _funnel(
    context: Context, seals: dict[str, Manifest], elicited: Elicitation | None, categories: Sequence[Category]
) -> Funnel | None:
    if elicited is None:
        return None
    select = seals["select"]
    found = funnel(select.facts, select.refused, seals["mix"].facts, warning(context.spec, select.facts, select.refused))
    if elicited.shares is None:
        return found
    kept = (str(row["instruction"]) for row in context.input("select").rows())
    return found.model_copy(update={"kinds": shifts(elicited.shares, kept, categories)})


def _evaluation(context: Context, seals: dict[str, Manifest]) -> Evaluation | None:
    if not {"evaluate-base", "evaluate-tuned"} <= seals.keys():
        return None
    base, tuned = (collect(context.input(f"evaluate-{model}").rows(), model) for model in ("base", "tuned"))
    return evaluation(base, tuned, seals["evaluate-base"].fingerprint)


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
