"""Filter, select and mix over a real folder store, with the rows of the stages before written by the test."""

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from rehearsal.api.messages import CorruptInput, Refused, TooManyRefused
from rehearsal.api.run import RunSpec
from rehearsal.pipeline.fingerprint import fingerprints
from rehearsal.store.folder import FolderStore
from rehearsal.worker import filter as filter_stage
from rehearsal.worker import mix, select
from rehearsal.worker.context import Context
from tests.unit.worker.models_in_store import a_context, a_spec, a_store, put_model, talking_model

Row = dict[str, Any]


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    store = a_store(tmp_path / "store")
    for path in ("base", "peer"):
        files = talking_model(tmp_path / "files")
        put_model(store, path, files | {"model.safetensors": path.encode()})
    return store


def context_of(tmp_path: Path, store: FolderStore, stage: str, spec: RunSpec, rounds: int = 1) -> Context:
    context = a_context(tmp_path, spec, stage, store)
    context.scratch.mkdir(parents=True, exist_ok=True)
    task = context.task.model_copy(update={"rounds": rounds})
    return Context(task, store, context.scratch, context.model_dir)


def sealed(context: Context, stage: str, rows: Sequence[Row], **facts: int) -> None:
    artifact = context.artifact(stage)
    artifact.commit_shard(0, rows)
    artifact.seal(1, facts=facts)


def with_filters(spec: RunSpec, **filters: Any) -> RunSpec:
    made = spec.wire()["rehearsal"]["reconstructed"] | {"filters": filters}
    return RunSpec.model_validate(spec.wire() | {"rehearsal": {"reconstructed": made}})


def said(number: int, text: str = "Where is the sea?", finish: str = "stop", round_: int = 1) -> Row:
    return {"id": f"{round_}-{number:07d}", "ids": list(range(40, 40 + len(text.split()))), "text": text, "finish": finish}


def elicited(context: Context, rows: list[Row], round_: int = 1) -> None:
    sealed(context, "elicit" if round_ == 1 else f"elicit{round_}", rows)


def test_filter_takes_the_fit_instructions_in_order_and_counts_the_others_by_reason(tmp_path: Path, store: FolderStore) -> None:
    context = context_of(tmp_path, store, "filter", a_spec(count=3))
    elicited(context, [said(0), said(1, finish="length"), said(2), said(3, ""), said(4), said(5)])
    outcome = filter_stage.run(context)
    assert outcome.manifest is not None
    assert [row["id"] for row in context.output.rows()] == ["1-0000000", "1-0000002", "1-0000004", "1-0000005"]
    assert outcome.manifest.refused == {"empty": 1, "truncated": 1}


def test_filter_keeps_duplicates_because_their_share_is_part_of_the_distribution(tmp_path: Path, store: FolderStore) -> None:
    context = context_of(tmp_path, store, "filter", a_spec(count=3))
    elicited(context, [said(0), said(1), said(2)])
    assert filter_stage.run(context).manifest is not None


def test_filter_accepts_every_fit_instruction_of_its_round_however_few(tmp_path: Path, store: FolderStore) -> None:
    for round_, stage in ((1, "filter"), (2, "filter2")):
        context = context_of(tmp_path, store, stage, a_spec(count=30), rounds=2)
        elicited(context, [said(0, round_=round_), said(1, "And the hills?", round_=round_)], round_)
        manifest = filter_stage.run(context).manifest
        assert manifest is not None
        assert [row["id"] for row in context.output.rows()] == [f"{round_}-0000000", f"{round_}-0000001"]
        assert manifest.facts == {"elicited": 2, "characters": len("Where is the sea?And the hills?")}


def test_duplicates_of_earlier_rounds_are_dropped_where_a_run_drops_duplicates(tmp_path: Path, store: FolderStore) -> None:
    spec = with_filters(a_spec(count=30), exactDuplicates=True)
    for round_, stage in ((1, "filter"), (2, "filter2"), (3, "filter3")):
        context = context_of(tmp_path, store, stage, spec, rounds=3)
        elicited(context, [said(0, round_=round_), said(1, f"Only of round {round_}?", round_=round_)], round_)
        filter_stage.run(context)
    assert [row["id"] for row in context.output.rows()] == ["3-0000001"]
    assert context.output.sealed().refused == {"duplicate": 1}


def test_a_round_of_nothing_but_duplicates_is_sealed_empty_and_asks_for_nothing(tmp_path: Path, store: FolderStore) -> None:
    spec = with_filters(a_spec(count=30), exactDuplicates=True)
    for round_, stage in ((1, "filter"), (2, "filter2")):
        context = context_of(tmp_path, store, stage, spec, rounds=2)
        elicited(context, [said(0, round_=round_)], round_)
        outcome = filter_stage.run(context)
    assert outcome.another_round is None
    assert context.output.sealed().rows == 0


def test_a_round_that_is_mostly_unfit_fails_and_seals_nothing(tmp_path: Path, store: FolderStore) -> None:
    context = context_of(tmp_path, store, "filter2", a_spec(count=3), rounds=2)
    elicited(context, [said(0), said(1, finish="length"), said(2, finish="length")], 2)
    with pytest.raises(TooManyRefused, match=r"2 of 3 elicited instructions were unfit \(truncated 2\)"):
        filter_stage.run(context)
    assert context.output.manifest() is None


def judged(context: Context, scores: dict[str, list[list[float | None]]], finish: str = "stop") -> None:
    """Seal two instructions with three answers a member, and these scores of each judge for both."""
    ids = ["i0000000", "i0000001"]
    sealed(context, "filter", [{"id": id_, "text": f"Question {id_}"} for id_ in ids], elicited=2, characters=30)
    for member in ("base", "peer"):
        answers = [{"text": f"{member} {n}", "ids": [41, 42], "finish": finish} for n in range(3)]
        sealed(context, f"respond-{member}", [{"id": id_, "answers": answers} for id_ in ids])
        sealed(context, f"judge-{member}", [{"id": id_, "scores": scores[member], "pruned": []} for id_ in ids])


def test_select_takes_the_highest_mean_and_says_what_decided(tmp_path: Path, store: FolderStore) -> None:
    context = context_of(tmp_path, store, "select", a_spec(count=2))
    judged(context, {"base": [[3, 3, 3], [3, 5, 3]], "peer": [[3, 3, 3], [3, 4, 3]]})
    assert select.run(context).manifest is not None
    first = next(context.output.rows())
    assert (first["answer"], first["member"], first["sample"], first["mean"], first["decided"]) == (
        "peer 1",
        "peer",
        1,
        4.5,
        "mean",
    )
    assert (first["instruction"], first["verdicts"]) == ("Question i0000000", 2)


def test_select_breaks_ties_for_the_base_model_and_its_first_answer(tmp_path: Path, store: FolderStore) -> None:
    context = context_of(tmp_path, store, "select", a_spec(count=2))
    judged(context, {name: [[4, 4, 4], [4, 4, 4]] for name in ("base", "peer")})
    select.run(context)
    assert next(context.output.rows())["answer"] == "base 0"


def test_select_reports_how_the_judges_agree_and_lean(tmp_path: Path, store: FolderStore) -> None:
    context = context_of(tmp_path, store, "select", a_spec(count=2))
    judged(context, {"base": [[5, 5, 4], [3, 3, 3]], "peer": [[4, 4, 3], [3, 3, 3]]})
    facts = select.run(context).manifest.facts  # type: ignore[union-attr]
    assert facts["auditedAnswers"] == 12
    assert float(facts["bias.base"]) > 0 > float(facts["bias.peer"])
    assert "alpha" in facts


@pytest.mark.fault(55)
def test_a_committee_that_abstains_leaves_nothing_to_train_on_and_says_so(tmp_path: Path, store: FolderStore) -> None:
    context = context_of(tmp_path, store, "select", a_spec(count=2))
    judged(context, {name: [[None] * 3, [None] * 3] for name in ("base", "peer")})
    with pytest.raises(TooManyRefused) as failure:
        select.run(context)
    assert failure.value.reason == "NothingToTrain"


def test_answers_that_were_cut_off_are_never_chosen(tmp_path: Path, store: FolderStore) -> None:
    context = context_of(tmp_path, store, "select", a_spec(count=2))
    judged(context, {name: [[5] * 3, [5] * 3] for name in ("base", "peer")}, finish="length")
    with pytest.raises(TooManyRefused):
        select.run(context)


def domain_of(store: FolderStore, rows: int, words: int = 3) -> str:
    lines = [
        json.dumps({"prompt": f"What is fact {number}?", "response": " ".join(["word"] * words)}) + "\n" for number in range(rows)
    ]
    store.put("domain.jsonl", "".join(lines).encode())
    return store.stat("domain.jsonl").sha256


def pinned_to(context: Context, domain: str) -> Context:
    """The context as it is when preflight has pinned this digest of the domain set."""
    inputs = dict(context.task.inputs) | {"domain": domain}
    known = fingerprints(tuple(context.stages.values()), inputs)
    task = context.task.model_copy(update={"inputs": inputs, "fingerprint": known["mix"]})
    return Context(task, context.objects, context.scratch, context.model_dir)


def mixing(tmp_path: Path, store: FolderStore, rehearsal: int, domain: int, spec: RunSpec | None = None, words: int = 3) -> Context:
    digest = domain_of(store, domain, words)
    base = a_context(tmp_path, spec or a_spec(count=rehearsal), "mix", store)
    base.scratch.mkdir(parents=True, exist_ok=True)
    context = pinned_to(base, digest)
    if rehearsal:
        rows = [{"id": f"i{n:07d}", "instruction": f"Say {n}", "answer": f"Said {n}"} for n in range(rehearsal)]
        sealed(context, "select", rows)
    return context


def test_mix_has_its_share_of_domain_rows_and_trains_on_answers_alone(tmp_path: Path, store: FolderStore) -> None:
    context = mixing(tmp_path, store, rehearsal=83, domain=40)
    facts = mix.run(context).manifest.facts  # type: ignore[union-attr]
    assert (facts["rehearsalRows"], facts["domainRows"]) == (83, 17)
    rows = list(context.output.rows())
    assert {row["source"] for row in rows} == {"rehearsal", "domain"}
    assert all(0 < start < end <= len(row["ids"]) for row in rows for start, end in row["spans"])


def test_mix_is_the_same_to_the_byte_when_it_is_made_again(tmp_path: Path, store: FolderStore) -> None:
    context = mixing(tmp_path, store, rehearsal=20, domain=40)
    first = mix.run(context).manifest
    other = a_store(tmp_path / "other")
    for key in store.list(""):
        if "/mix/" not in key:
            other.put(key, store.get(key))
    again = mix.run(Context(context.task, other, context.scratch, context.model_dir)).manifest
    assert first is not None
    assert again is not None
    assert first.digest == again.digest


def test_too_few_domain_rows_are_refused_with_the_arithmetic(tmp_path: Path, store: FolderStore) -> None:
    with pytest.raises(Refused, match="17 domain rows, and there are 5"):
        mix.run(mixing(tmp_path, store, rehearsal=83, domain=5))


def test_rows_longer_than_the_sequence_are_refused_and_counted_never_cut(tmp_path: Path, store: FolderStore) -> None:
    spec = a_spec(count=20)
    spec = RunSpec.model_validate(spec.wire() | {"training": {"sequenceLength": 64}, "mixture": {"mode": "Concatenate"}})
    context = mixing(tmp_path, store, 20, 40, spec, words=3)
    long = json.dumps({"prompt": "What is long?", "response": "word " * 500}) + "\n"
    store.put("domain.jsonl", store.get("domain.jsonl") + long.encode())
    sources = list(context.artifact("select").rows())
    context = pinned_to(context, store.stat("domain.jsonl").sha256)
    assert list(context.artifact("select").rows()) == sources
    manifest = mix.run(context).manifest
    assert manifest is not None
    assert manifest.refused == {"domain-too-long": 1}
    assert max(len(row["ids"]) for row in context.output.rows()) <= 64


def test_a_domain_file_that_changed_after_preflight_is_not_read(tmp_path: Path, store: FolderStore) -> None:
    context = mixing(tmp_path, store, rehearsal=20, domain=40)
    domain_of(store, 41)
    with pytest.raises(CorruptInput, match="changed after preflight"):
        mix.run(context)


def test_a_file_that_was_changed_under_its_size_and_time_is_not_read_either(tmp_path: Path, store: FolderStore) -> None:
    context = mixing(tmp_path, store, rehearsal=20, domain=40)
    path = store.root / "domain.jsonl"
    before, data = path.stat(), path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(data.replace(b"word", b"lies"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.read_bytes() != data, path.stat().st_ino, path.stat().st_size) == (True, before.st_ino, before.st_size)
    with pytest.raises(CorruptInput, match=r"store://domain\.jsonl changed after preflight looked at it"):
        mix.run(context)


def test_rows_are_committed_as_they_come_and_what_is_refused_after_the_last_one_is_counted(
    tmp_path: Path, store: FolderStore
) -> None:
    context = context_of(tmp_path, store, "filter", a_spec(count=3))
    refused: Counter[str] = Counter()
    made = 0

    def rows() -> Iterator[Row]:
        nonlocal made
        for made in range(1, 7):
            assert len(context.output.commits()) >= made // 2 - 2
            yield {"id": made}
        refused["too-late"] += 1

    assert context.commit_rows(rows(), refused, per_shard=2) == 3
    assert [commit.refused for commit in context.output.commits().values()] == [{}, {}, {"too-late": 1}]
    assert [row["id"] for index in range(3) for row in context.output.shard_rows(index)] == [1, 2, 3, 4, 5, 6]
