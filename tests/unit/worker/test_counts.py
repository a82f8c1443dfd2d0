"""`count` is the number of rehearsal conversations in the mix, or a refusal with the arithmetic: in preflight, else in mix."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rehearsal.api.messages import Refused
from rehearsal.api.run import RunSpec
from rehearsal.pipeline.fingerprint import fingerprints
from rehearsal.store.folder import FolderStore
from rehearsal.store.manifest import Manifest
from rehearsal.worker import mix, preflight
from rehearsal.worker.context import Context
from tests.unit.worker.models_in_store import a_context, a_spec, a_store, put_model, talking_model

LONG = "otter " * 200
STRANGE = "holds \U0010fffdrehearsal\U0010fffd, which no row may"
FIT, TOO_LONG, NOT_ENCODABLE = "Brown.", LONG, STRANGE


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    store = a_store(tmp_path / "store")
    for path in ("base", "peer"):
        put_model(store, path, talking_model(tmp_path / "files"))
    put_rows(store, "domain.jsonl", [FIT] * 20)
    return store


def put_rows(store: FolderStore, path: str, answers: list[str]) -> None:
    rows = [{"prompt": f"What colour is otter {number}?", "response": answer} for number, answer in enumerate(answers)]
    store.put(path, "".join(f"{json.dumps(row)}\n" for row in rows).encode())


def rehearsing(count: int | None = None, mixture: dict[str, Any] | None = None, **source: Any) -> RunSpec:
    """A run that rehearses a data set, `talk.jsonl` unless a preset is named, with rows of at most 128 tokens."""
    dataset = (source or {"uri": "store://talk.jsonl"}) | ({"count": count} if count else {})
    return with_rehearsal({"dataset": dataset}, mixture)


def with_rehearsal(rehearsal: dict[str, Any], mixture: dict[str, Any] | None = None) -> RunSpec:
    more = {"rehearsal": rehearsal, "training": {"sequenceLength": 128}, "mixture": mixture or {}}
    return RunSpec.model_validate(a_spec().wire() | more)


@pytest.fixture
def context_of(tmp_path: Path, store: FolderStore) -> Callable[[RunSpec, str], Context]:
    def made(spec: RunSpec, stage: str) -> Context:
        plain = a_context(tmp_path, a_spec(), "mix", store)
        pins = {name: store.stat(f"{name}.jsonl").sha256 for name in ("domain", "talk") if f"{name}.jsonl" in store.list("")}
        inputs = dict(plain.task.inputs) | {{"talk": "dataset"}.get(name, name): pin for name, pin in pins.items()}
        task = plain.task.model_copy(update={"spec": spec, "inputs": inputs, "stage": stage, "fingerprint": None})
        context = Context(task, store, tmp_path / "scratch" / stage, tmp_path / "model")
        context.scratch.mkdir(parents=True, exist_ok=True)
        if stage != "preflight":
            known = fingerprints(tuple(context.stages.values()), inputs)
            context.task = task.model_copy(update={"fingerprint": known[stage]})
        return context

    return made


@pytest.fixture
def look(context_of: Callable[[RunSpec, str], Context]) -> Callable[[RunSpec], dict[str, Any]]:
    return lambda spec: preflight.run(context_of(spec, "preflight")).facts


@pytest.fixture
def mixing(context_of: Callable[[RunSpec, str], Context]) -> Callable[[RunSpec], Manifest]:
    def run(spec: RunSpec) -> Manifest:
        manifest = mix.run(context_of(spec, "mix")).manifest
        assert manifest
        return manifest

    return run


def refusal(run: Callable[[RunSpec], object], spec: RunSpec) -> Refused:
    with pytest.raises(Refused) as refused:
        run(spec)
    return refused.value


def test_rows_are_drawn_until_as_many_as_the_count_fit(
    store: FolderStore, look: Callable[..., Any], mixing: Callable[..., Manifest]
) -> None:
    put_rows(store, "talk.jsonl", [FIT, TOO_LONG, NOT_ENCODABLE] * 30)
    facts = look(rehearsing(count=30))
    sealed = mixing(rehearsing(count=30)).facts
    assert (facts["rehearsalRows"], facts["mixRows"], sealed["rehearsalRows"]) == (30, 36, 30)
    for name in ("rehearsalRead", "rehearsalTooLong", "rehearsalNotEncodable"):
        assert facts[name] == sealed[name] > 0
    assert sealed["rehearsalRead"] == 30 + int(sealed["rehearsalTooLong"]) + int(sealed["rehearsalNotEncodable"])


def test_the_same_rows_are_drawn_in_every_pass(mixing: Callable[..., Manifest], store: FolderStore, context_of: Any) -> None:
    put_rows(store, "talk.jsonl", [FIT, TOO_LONG] * 60)
    few = rows_of(mixing, context_of, rehearsing(count=20))
    more = rows_of(mixing, context_of, rehearsing(count=40))
    assert len(few) == 20
    assert few < more, "a draw is part of every larger one"
    assert all(int(name[1:]) % 2 for name in more)


def rows_of(mixing: Callable[..., Manifest], context_of: Any, spec: RunSpec) -> set[str]:
    mixing(spec)
    return {row["id"] for row in context_of(spec, "mix").output.rows() if row["source"] == "rehearsal"}


@pytest.mark.parametrize("when", ["look", "mixing"])
@pytest.mark.parametrize(
    ("answers", "count", "words"),
    [
        ([FIT] * 60, 90, "count: 90 conversations are wanted in the mix, and store://talk.jsonl holds 60; lower it"),
        ([FIT] * 60, 100_000, "count: 100,000 conversations are wanted in the mix, and store://talk.jsonl holds 60; lower it"),
        ([FIT] * 40 + [TOO_LONG] * 19 + [NOT_ENCODABLE], 41, "holds 60, of which 40 fit: 19 are longer than"),
        ([TOO_LONG] * 5, 5, "holds 5, of which 0 fit: 5 are longer than spec.training.sequenceLength (128 tokens), 0 cannot"),
    ],
)
def test_a_count_that_cannot_be_kept_is_refused_with_the_arithmetic(
    request: pytest.FixtureRequest, store: FolderStore, when: str, answers: list[str], count: int, words: str
) -> None:
    put_rows(store, "talk.jsonl", answers)
    error = refusal(request.getfixturevalue(when), rehearsing(count=count))
    assert error.reason == "TooFewRows"
    assert words in str(error)


def test_without_a_count_all_rows_that_fit_are_mixed(
    look: Callable[..., Any], mixing: Callable[..., Any], store: FolderStore
) -> None:
    put_rows(store, "talk.jsonl", [FIT] * 50 + [TOO_LONG] * 2)
    assert look(rehearsing())["rehearsalRows"] == mixing(rehearsing()).facts["rehearsalRows"] == 50


def test_a_set_of_unknown_size_is_not_taken_for_no_rehearsal(look: Callable[..., Any]) -> None:
    facts = look(rehearsing(preset="ultrachat"))
    assert (facts["rehearsalRows"], facts["mixRows"]) == ("unknown", "unknown")
    assert look(rehearsing(preset="ultrachat", count=60))["mixRows"] == 72
    assert look(with_rehearsal({}))["rehearsalRows"] == 0


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (rehearsing(preset="ultrachat", mixture={"totalSamples": 1000}), "needs 170 domain rows, and there are 20"),
        (rehearsing(preset="ultrachat", count=1000), "needs 205 domain rows, and there are 20"),
    ],
)
def test_of_a_set_of_unknown_size_what_can_be_known_is_checked(look: Callable[..., Any], spec: RunSpec, words: str) -> None:
    assert words in str(refusal(look, spec))


def test_a_file_that_nobody_can_measure_yet_has_an_unknown_size_unless_it_is_counted(
    look: Callable[..., Any], store: FolderStore
) -> None:
    put_rows(store, "talk.jsonl", [FIT] * 200)
    unfetched = {"baseModel": {"uri": f"hf://meta/base@{'a' * 40}"}}
    later = RunSpec.model_validate(rehearsing().wire() | unfetched)
    assert look(later)["rehearsalRows"] == "unknown"
    counted = RunSpec.model_validate(rehearsing(count=201).wire() | unfetched)
    assert "holds 200" in str(refusal(look, counted))


def chosen(context: Context, answers: list[str]) -> None:
    rows: Iterator[dict[str, Any]] = (
        {"id": f"i{number:07d}", "instruction": f"Say {number}", "answer": answer} for number, answer in enumerate(answers)
    )
    artifact = context.artifact("select")
    artifact.commit_shard(0, rows)
    artifact.seal(1)


def test_a_total_without_slack_is_met_by_a_reconstructed_set_that_kept_its_count(
    context_of: Any, mixing: Callable[..., Any]
) -> None:
    spec = with_rehearsal({"reconstructed": a_spec(count=20).wire()["rehearsal"]["reconstructed"]}, {"totalSamples": 24})
    chosen(context_of(spec, "mix"), [FIT] * 20)
    facts = mixing(spec).facts
    assert (facts["rehearsalRead"], facts["rehearsalRows"], facts["domainRows"]) == (20, 20, 4)


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([FIT] * 19 + [LONG], "and the output of select holds 20, of which 19 fit: 1 are longer"),
        ([FIT] * 19, "and the output of select holds 19; lower it"),
    ],
)
def test_a_reconstructed_set_below_its_count_is_refused_with_the_arithmetic(
    context_of: Any, mixing: Callable[..., Any], answers: list[str], words: str
) -> None:
    spec = with_rehearsal({"reconstructed": a_spec(count=20).wire()["rehearsal"]["reconstructed"]})
    chosen(context_of(spec, "mix"), answers)
    error = refusal(mixing, spec)
    assert str(error).startswith("spec.rehearsal.reconstructed.count: 20 conversations are wanted in the mix, ")
    assert (error.reason, words in str(error)) == ("TooFewRows", True)


def test_facts_tell_what_became_of_both_sets(store: FolderStore, mixing: Callable[..., Manifest]) -> None:
    put_rows(store, "talk.jsonl", [FIT] * 10 + [TOO_LONG] * 2 + [NOT_ENCODABLE])
    put_rows(store, "domain.jsonl", [FIT] * 40 + [TOO_LONG] * 3)
    manifest = mixing(rehearsing())
    facts = {name: value for name, value in manifest.facts.items() if "okens" not in name}
    assert facts == {
        "rehearsalRead": 13,
        "rehearsalTooLong": 2,
        "rehearsalNotEncodable": 1,
        "rehearsalRows": 10,
        "domainRead": 43,
        "domainTooLong": 3,
        "domainNotEncodable": 0,
        "domainRows": 2,
        "domainFraction": 0.1667,
        "domainUsed": 0.05,
        "domainRepeats": 0,
    }
    assert manifest.refused == {"domain-too-long": 3, "rehearsal-not-encodable": 1, "rehearsal-too-long": 2}


@pytest.mark.parametrize(
    ("room", "words"),
    [
        ({"scratch": "5k"}, "up to 8,"),
        ({"cpu_memory": "1Mi"}, "the platform's cpuStage.memory is 1Mi"),
    ],
)
def test_a_mix_that_its_pod_cannot_hold_is_refused_before_an_engine_starts(
    context_of: Any, room: dict[str, str], words: str
) -> None:
    context = context_of(rehearsing(preset="ultrachat", count=60), "preflight")
    context.task = context.task.model_copy(update=room)
    error = refusal(lambda _: preflight.run(context), context.spec)
    assert (error.reason, words in str(error)) == ("DoesNotFit", True)


def test_a_file_larger_than_a_pods_scratch_is_refused_before_it_is_brought_there(context_of: Any) -> None:
    context = context_of(rehearsing(preset="ultrachat"), "preflight")
    context.task = context.task.model_copy(update={"scratch": "1k"})
    assert "the platform's scratch is 1k" in str(refusal(lambda _: preflight.run(context), context.spec))
    assert not list(context.scratch.rglob("*domain*"))
