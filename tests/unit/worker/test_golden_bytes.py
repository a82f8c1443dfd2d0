"""What the deterministic stages seal for small fixed inputs, under their present versions: a changed output without a new version is red.

`make snapshots` writes tests/data/golden.json anew, and only for stages whose version moved.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from rehearsal.api.platform import Hub
from rehearsal.api.run import RunSpec
from rehearsal.pipeline.fingerprint import digest
from rehearsal.pipeline.stage import VERSIONS, Kind
from rehearsal.worker import fetch, mix, report, select
from rehearsal.worker import filter as filter_stage
from rehearsal.worker.context import Context
from tests.unit.report import test_report_stage as reports
from tests.unit.worker.hub_server import HubServer
from tests.unit.worker.models_in_store import a_context, a_spec, a_store, put_model, talking_model
from tests.unit.worker.test_cpu_stages import Row, context_of, elicited, mixing, said
from tests.unit.worker.test_cpu_stages import sealed as sealed_rows

GOLDEN = Path(__file__).parents[2] / "data/golden.json"
LONGEST = 37
"""Tokens of the longest row that is mixed here."""
STAGE_PY = "operator/rehearsal/pipeline/stage.py"


def filtered(folder: Path) -> Context:
    context = context_of(folder, with_models(folder), "filter", a_spec(count=5))
    fit = [
        said(number, text)
        for number, text in enumerate(["Where is the sea?", "And the hills?", "Where is the sea?", "Ünïcode? 🙂"])
    ]
    unfit = [said(4, finish="length"), said(5, ""), said(6, "   "), said(7, "no no no no no no no no no no no no no no no no")]
    bounds = [said(10, "!!!"), said(11, "!!!!"), repeated(12, 7), repeated(13, 8), {**repeated(14, 8), "ids": [42] + 7 * [41]}]
    long = [{**said(15, "As long as may be."), "ids": 1024 * [41, 42]}, {**said(16, "Longer."), "ids": 1024 * [41, 42] + [41]}]
    more = [said(number, f"What is {number}?") for number in range(17, 40)]
    elicited(context, [*unfit[:2], *fit, *unfit[2:], said(8, "One more."), said(9, "Too many."), *bounds, *long, *more])
    filter_stage.run(context)
    return context


def repeated(number: int, times: int) -> Row:
    return {**said(number, f"no {number}"), "ids": [41] * times}


SCORES: Sequence[tuple[list[float | None], list[float | None], list[float | None], list[float | None]]] = [
    ([5, 5, None], [3, 4.5, 3], [4, 4, 3], [3, None, 5]),
    ([3, 1, 1], [3, 1, 1], [3, 1, 1], [3, 1, 1]),
    ([3.3333, 1, 1], [1, 1, 4.001], [4.1234, 1, 1], [1, 1, 3.5]),
    ([1, 1, 5], [1, 4, 1], [1, 1, 3], [1, 4, 1]),
]
"""Of each instruction, the base model's verdicts on its own answers and on the peer's, then the peer's on the same. The second ties."""


def selected(folder: Path) -> Context:
    """The second answer of the first instruction is cut off, all of the last one's are: another takes its place."""
    context = context_of(folder, with_models(folder), "select", a_spec(count=4))
    ids = [f"i{number:07d}" for number in range(5)]
    scores = [SCORES[0], *SCORES]
    sealed_rows(context, "filter", [{"id": id_, "text": f"Question {id_}"} for id_ in ids], elicited=5, characters=75)
    for at, member in enumerate(("base", "peer")):
        rows = []
        for place, id_ in enumerate(ids):
            ends = ["length"] * 3 if place == 0 else ["stop", "length" if place == 1 else "stop", "stop"]
            rows.append({"id": id_, "answers": [answer(f"{member} {n}", end) for n, end in enumerate(ends)]})
        sealed_rows(context, f"respond-{member}", rows)
        given = [{"id": id_, "scores": list(row[2 * at : 2 * at + 2]), "pruned": []} for id_, row in zip(ids, scores, strict=True)]
        sealed_rows(context, f"judge-{member}", given)
    select.run(context)
    return context


def answer(text: str, finish: str) -> Row:
    return {"text": text, "ids": [41, 42], "finish": finish}


def mixed(folder: Path) -> Context:
    """A share that is half a row over a whole number, and rows that fit to the token."""
    more = {"mixture": {"domainFraction": 0.2}, "training": {"sequenceLength": LONGEST}}
    spec = RunSpec.model_validate(a_spec(count=34).wire() | more)
    context = mixing(folder, with_models(folder), rehearsal=34, domain=12, spec=spec)
    mix.run(context)
    return context


def reported(folder: Path) -> Context:
    context: Context = reports.context_of(folder)  # type: ignore[no-untyped-call]
    context.objects.put("categories.yaml", reports.CATEGORIES)
    reports.seal_inputs(context)  # type: ignore[no-untyped-call]
    report.run(context)
    return context


def fetched(folder: Path) -> Context:
    rows = [
        {"instruction": "Add.", "input": "1, 2", "output": "3"},
        {"instruction": "Ünïcode?", "input": "", "output": "🙂"},
        {"instruction": "Say nothing.", "input": "", "output": " "},
    ]
    spec = RunSpec.model_validate(a_spec().wire() | {"rehearsal": {"dataset": {"preset": "openhermes"}}})
    context = a_context(folder, spec, "fetch-dataset", with_models(folder))
    context.scratch.mkdir(parents=True)
    with HubServer({"datasets/teknium/openhermes": {"openhermes.json": json.dumps(rows).encode()}}).running() as hub:
        context.task = context.task.model_copy(update={"hub": Hub(url=hub.url)})
        fetch.run(context)
    return context


MAKERS: Mapping[Kind, Callable[[Path], Context]] = {
    Kind.FETCH: fetched,
    Kind.FILTER: filtered,
    Kind.SELECT: selected,
    Kind.MIX: mixed,
    Kind.REPORT: reported,
}


def with_models(folder: Path) -> Any:
    store = a_store(folder / "store")
    for path in ("base", "peer"):
        put_model(store, path, talking_model(folder / "files") | {"model.safetensors": path.encode()})
    return store


def sealed(context: Context) -> str:
    """The digest of what a stage's readers get, wherever it lies: fingerprints, which other tests hold, count as one."""
    seal = context.output.sealed()
    folder = context.scratch / "sealed"
    context.output.fetch_files(folder)
    files = {file.path: re.sub(rb"[0-9a-f]{12,64}", b"digest", (folder / file.path).read_bytes()) for file in seal.files}
    contents = {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
    return digest({"rows": list(context.output.rows()), "refused": seal.refused, "facts": seal.facts, "files": contents})


def verdict(kind: Kind, before: Mapping[str, Any] | None, version: int, made: str) -> str:
    """Say what is wrong with a stage's record, or nothing. `before`: what stands in the file."""
    if before and version < before["version"]:
        return f"{kind}'s version went back from {before['version']} to {version}: versions only grow"
    if before and (before["version"], before["sha256"]) == (version, made):
        return ""
    if before and before["version"] == version:
        return f"{kind} seals other bytes than under version {version}: bump VERSIONS[{kind}] in {STAGE_PY}, then `make snapshots`"
    return f"{kind} has no record under version {version}: run `make snapshots` and read the diff"


@pytest.mark.fault(78)
@pytest.mark.parametrize("kind", MAKERS)
def test_a_deterministic_stage_seals_the_bytes_of_its_version(kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    made, version = sealed(MAKERS[kind](tmp_path)), VERSIONS[kind]
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    before = golden.get(kind)
    if os.environ.get("UPDATE_SNAPSHOTS") and (before is None or version > before["version"]):
        golden[kind] = before = {"version": version, "sha256": made}
        GOLDEN.write_text(json.dumps(golden, indent=1, sort_keys=True) + "\n")
    assert not (wrong := verdict(kind, before, version, made)), wrong


@pytest.mark.fault(78)
def test_a_record_is_only_written_anew_where_the_version_moved() -> None:
    before = {"version": 2, "sha256": "a"}
    assert verdict(Kind.MIX, before, 2, "a") == ""
    assert "bump VERSIONS[mix] in operator/rehearsal/pipeline/stage.py" in verdict(Kind.MIX, before, 2, "b")
    assert "make snapshots" in verdict(Kind.MIX, before, 3, "b")
    assert "versions only grow" in verdict(Kind.MIX, before, 1, "a")


def test_every_deterministic_stage_has_a_record_and_no_other() -> None:
    assert json.loads(GOLDEN.read_text()).keys() == set(MAKERS)
