import hashlib
import json

import pytest

from rehearsal.api.messages import CorruptInput
from rehearsal.api.platform import StoreConfig
from rehearsal.api.run import RunSpec
from rehearsal.api.task import Task
from rehearsal.pipeline.fingerprint import fingerprints
from rehearsal.pipeline.sources import external_inputs
from rehearsal.pipeline.stages import stages_of
from rehearsal.report.contents import ReportData
from rehearsal.report.funnel import POPULATIONS
from rehearsal.store.open import open_store
from rehearsal.worker.context import Context
from rehearsal.worker.report import run

CATEGORIES = b"[{name: capital, pattern: '^Capital', share: 0.5}, {name: colour, pattern: '^Colour', share: 0.5}]"
SPEC = {
    "baseModel": {"uri": "store://models/base"},
    "rehearsal": {"reconstructed": {"count": 4, "committee": {"members": [{"name": "base", "base": True}]}}},
    "domain": {"uri": "store://data/domain.jsonl"},
    "evaluation": {"tasks": [{"name": "facts", "uri": "store://tasks/facts.yaml"}]},
    "categories": {"uri": "store://categories.yaml"},
}
TEXTS = ["Capital of Peru", "Capital of Chile", "Capital of Cuba", "Colour of <b>snow</b>"]


FUNNEL = {"rounds": 1, "elicited": 5, "accepted": 4, "considered": 4, "answered": 4, "judged": 4, "answers": 4, "answersCutOff": 0}
FUNNEL |= {f"{figure}.{of}.{which}": 9 for figure in ("meanLength", "medianLength") for of, which in POPULATIONS}


def context_of(folder, spec=SPEC, run_name="first", categories=CATEGORIES):
    """The report stage of a run whose other stages are not sealed yet."""
    scratch = folder / f"scratch-{run_name}"
    scratch.mkdir(parents=True)
    parsed = RunSpec.model_validate(spec)
    inputs = {name: hashlib.sha256(name.encode()).hexdigest() for name in external_inputs(parsed)}
    inputs |= {"categories": hashlib.sha256(categories).hexdigest()}
    store = StoreConfig.model_validate({"folder": {"path": str(folder / "store")}})
    known = fingerprints(stages_of(parsed), inputs)["report"]
    task = Task(namespace="lab", run=run_name, stage="report", fingerprint=known, spec=parsed, inputs=inputs, store=store)
    return Context(task, open_store(store), scratch, folder / "model")


def seal_inputs(context, funnel=FUNNEL, lost=None):
    """Seal every stage before the report, as their programs would."""
    marks = {"evaluate-base": "1110", "evaluate-tuned": "1001"}
    for name in context.stage.inputs:
        rows, facts = [], {}
        if name == "filter":
            rows = [{"id": f"1-{i}", "text": text} for i, text in enumerate(TEXTS)]
        elif name == "select":
            rows = [
                {"id": f"i{i}", "instruction": text, "answer": "yes", "member": "base", "sample": 0, "mean": 4.0, "decided": "only"}
                for i, text in enumerate(TEXTS)
            ]
            facts = {"alpha": 0.75, "bias.base": 0.0, **funnel}
        elif name in marks:
            rows = [
                {"id": f"q{i}", "task": "facts", "role": "General", "correct": mark == "1", "metric": "exact_match"}
                for i, mark in enumerate(marks[name])
            ]
        elif name == "mix":
            facts = {"rehearsalRows": 4, "domainRows": 1}
        elif name == "train":
            facts = {"steps": 2}
        artifact = context.artifact(name)
        refused = {"filter": {"empty": 1}, "select": lost or {}}.get(name, {})
        artifact.commit_shard(0, rows, refused)
        artifact.seal(1, facts=facts)


def files_of(context):
    into = context.scratch / "fetched"
    context.output.fetch_files(into)
    return (into / "report.html").read_bytes(), (into / "report.json").read_bytes()


def test_the_report_is_sealed_with_page_data_and_headlines(tmp_path):
    context = context_of(tmp_path)
    context.objects.put("categories.yaml", CATEGORIES)
    seal_inputs(context)
    manifest = run(context).manifest
    page, data = files_of(context)
    report = ReportData.model_validate_json(data)
    assert manifest.facts == {"general.base": 0.75, "general.tuned": 0.5, "forgetting": 25.0, "sharesGap": 25.0}
    assert [(task.lost, task.gained) for task in report.evaluation.tasks] == [(2, 1)]
    assert report.elicitation.refused == {"empty": 1}
    assert report.judging.alpha == 0.75
    assert b"Colour of &lt;b&gt;snow&lt;/b&gt;" in page


def test_the_report_reads_every_round_that_selection_took_and_tells_the_funnel(tmp_path):
    spec = SPEC | {"rehearsal": {"reconstructed": {"count": 5, "committee": {"members": [{"name": "base", "base": True}]}}}}
    context = context_of(tmp_path, spec)
    context.objects.put("categories.yaml", CATEGORIES)
    lost = {"answers-truncated": 2}
    counts = {"rounds": 2, "elicited": 9, "accepted": 8, "considered": 7, "answered": 5, "judged": 5, "refused.empty": 1}
    seal_inputs(context, FUNNEL | counts | {"answers": 7, "answersCutOff": 2}, lost)
    for name in ("elicit2", "filter2", "respond2-base", "judge2-base"):
        later = context.artifact(name)
        later.commit_shard(0, [{"id": f"2-{i}", "text": text} for i, text in enumerate(["Capital of Peru"] * 4)])
        later.seal(1)
    run(context)
    page, data = files_of(context)
    report = ReportData.model_validate_json(data)
    assert (report.elicitation.rows, [stage.rows for stage in report.stages if stage.name == "filter2"]) == (8, [4])
    assert {step.name: (step.rows, step.lost) for step in report.funnel.steps} == {
        "elicited": (9, {}),
        "accepted": (8, {"empty": 1}),
        "considered": (7, {"not-needed": 1}),
        "answered": (5, {"answers-truncated": 2}),
        "judged": (5, {}),
        "kept": (5, {}),
        "mixed": (4, {"not-mixed": 1}),
    }
    kinds = {kind.name: (kind.accepted.count, kind.kept.count) for kind in report.funnel.kinds}
    assert kinds == {"capital": (7, 3), "colour": (1, 1), "none of these": (0, 0)}
    assert report.funnel.warning.startswith("1 of 9 elicited instructions were refused (empty 1); ")
    assert "; 2 of 7 instructions became no conversation (answers-truncated 2); 2 of 7 answers" in report.funnel.warning
    assert b"answers truncated: 2" in page
    assert b"Much was lost." in page


def test_the_report_is_the_same_bytes_whatever_the_run_is_called(tmp_path):
    pages = []
    for name in ("first", "second"):
        context = context_of(tmp_path / name, run_name=name)
        context.objects.put("categories.yaml", CATEGORIES)
        seal_inputs(context)
        run(context)
        pages.append(files_of(context))
    assert pages[0] == pages[1]


def test_a_report_that_is_sealed_is_found_and_not_written_again(tmp_path):
    context = context_of(tmp_path)
    context.objects.put("categories.yaml", CATEGORIES)
    seal_inputs(context)
    first = run(context).manifest
    again = context_of(tmp_path, run_name="again")
    assert run(again).manifest == first
    assert not any(again.scratch.iterdir())


def test_a_control_without_categories_or_evaluation_has_a_report(tmp_path):
    context = context_of(tmp_path, {"baseModel": SPEC["baseModel"], "domain": SPEC["domain"]})
    seal_inputs(context)
    assert run(context).manifest.facts == {}
    report = json.loads(files_of(context)[1])
    assert sorted(report) == ["mixture", "stages", "training"]


def test_categories_that_changed_after_preflight_are_not_used(tmp_path):
    context = context_of(tmp_path)
    context.objects.put("categories.yaml", CATEGORIES.replace(b"0.5", b"0.4"))
    seal_inputs(context)
    with pytest.raises(CorruptInput, match="changed after preflight"):
        run(context)


def test_an_input_that_is_not_sealed_is_named(tmp_path):
    context = context_of(tmp_path)
    with pytest.raises(CorruptInput, match="elicit is not sealed") as caught:
        run(context)
    assert caught.value.stage == "elicit"
