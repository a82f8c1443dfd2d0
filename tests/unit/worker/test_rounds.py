"""Selection over rounds: exactly `count` whole conversations, another round where they are too few, and a word on what was lost."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rehearsal.api.messages import CorruptInput, TooManyRefused
from rehearsal.api.run import RunSpec
from rehearsal.pipeline.reconstruction import Round
from rehearsal.pipeline.stage import MAX_ROUNDS
from rehearsal.prompts.chat import ChatTokenizer
from rehearsal.prompts.masks import tokenise_sample
from rehearsal.prompts.template import Message
from rehearsal.store.folder import FolderStore
from rehearsal.worker import select
from rehearsal.worker.context import Context, Outcome, reconstruction
from tests.unit.worker.models_in_store import a_context, a_spec, a_store, put_model, talking_model

Answers = list[tuple[str, str]]
"""What one member answers to one instruction: text and finish."""
WHOLE: Answers = [("By the coast.", "stop")]
CUT: Answers = [("By the coast, and then", "length")]


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    store = a_store(tmp_path / "store")
    for path in ("base", "peer"):
        put_model(store, path, talking_model(tmp_path / "files") | {"model.safetensors": path.encode()})
    return store


@pytest.fixture
def world(tmp_path: Path, store: FolderStore) -> Callable[..., "Rounds"]:
    def made(count: int, maxTokens: int = 384, **training: Any) -> "Rounds":  # noqa: N803 - the spec's own name
        spec = a_spec(count=count).wire()
        spec["rehearsal"]["reconstructed"]["committee"] |= {"sampling": {"maxTokens": maxTokens}, "responsesPerMember": 1}
        return Rounds(tmp_path, store, RunSpec.model_validate(spec | {"training": training}))

    return made


class Rounds:
    """A run whose rounds a test seals, and selects from."""

    def __init__(self, folder: Path, store: FolderStore, spec: RunSpec) -> None:
        self.folder, self.store, self.spec, self.rounds = folder, store, spec, 0

    @property
    def context(self) -> Context:
        context = a_context(self.folder, self.spec, "select", self.store)
        context.scratch.mkdir(parents=True, exist_ok=True)
        task = context.task.model_copy(update={"rounds": max(1, self.rounds)})
        return Context(task, self.store, context.scratch, context.model_dir)

    def judged(
        self, base: list[Answers], peer: list[Answers] | None = None, scores: tuple[int, int] = (3, 4), refused: int = 0
    ) -> None:
        """Seal one more round: an instruction for each of the base model's answers, of which the peer has others or the same."""
        self.rounds += 1
        names = Round.of(reconstruction(self.spec), self.rounds)
        ids = [f"{self.rounds}-{number:07d}" for number in range(len(base))]
        self._seal(
            names.instructions, [{"id": id_, "text": f"Where is {id_}?"} for id_ in ids], {"truncated": refused} if refused else {}
        )
        for name, answers in zip(names.responses, (base, peer or base), strict=True):
            rows = [[{"text": text, "ids": [41, 42], "finish": finish} for text, finish in own] for own in answers]
            self._seal(name, [{"id": id_, "answers": own} for id_, own in zip(ids, rows, strict=True)])
        for name in names.verdicts:
            given = [
                [[score] * len(own) for score, own in zip(scores, pair, strict=True)]
                for pair in zip(base, peer or base, strict=True)
            ]
            self._seal(name, [{"id": id_, "scores": own, "pruned": []} for id_, own in zip(ids, given, strict=True)])

    def select(self) -> Outcome:
        return select.run(self.context)

    def rows(self) -> list[dict[str, Any]]:
        return list(self.context.output.rows())

    def _seal(self, name: str, rows: list[dict[str, Any]], refused: dict[str, int] | None = None) -> None:
        artifact = self.context.artifact(name)
        artifact.commit_shard(0, rows, refused or {})
        artifact.seal(1, facts={"elicited": len(rows) + sum((refused or {}).values()), "characters": 90})


@pytest.mark.fault(46)
def test_what_was_seen_with_a_real_model_elicits_on_until_count_are_whole_and_says_so(world: Callable[..., Rounds]) -> None:
    """60 asked for, 63 instructions accepted, of whose answers 21 are cut off: 42 would have been mixed without a word."""
    run = world(60)
    run.judged([CUT if number % 3 == 0 else WHOLE for number in range(63)], refused=1)
    short = run.select()
    assert (short.manifest, short.another_round) == (None, 2)
    assert short.warning.startswith(
        "42 of 60 conversations are whole after 1 round: 64 instructions were elicited and 63 accepted; "
    )
    assert not run.context.output.commits(), "what is committed cannot be taken back"
    run.judged([WHOLE] * 16)
    assert run.select().another_round == 3
    run.judged([CUT, *[WHOLE] * 31])
    outcome = run.select()
    assert outcome.manifest is not None
    assert outcome.manifest.rows == 60
    assert outcome.manifest.refused == {"answers-truncated": 22}
    assert outcome.warning == (
        "22 of 82 instructions became no conversation (answers-truncated 22); 44 of 164 answers were cut off at 384 tokens or "
        "their model's limit; raise spec.rehearsal.reconstructed.committee.sampling.maxTokens (384), and serving.maxModelLen with it; "
        "what is kept is bent towards what was not lost"
    )
    facts = outcome.manifest.facts
    counts = ("rounds", "elicited", "accepted", "considered", "answered", "judged", "answers", "answersCutOff", "refused.truncated")
    assert [facts[name] for name in counts] == [3, 112, 111, 82, 60, 60, 164, 44, 1]


def test_count_is_kept_to_the_row_in_the_order_of_elicitation_and_what_follows_is_not_looked_at(
    world: Callable[..., Rounds],
) -> None:
    run = world(3)
    run.judged([WHOLE, CUT, WHOLE, WHOLE, CUT, WHOLE])
    facts = run.select().manifest.facts  # type: ignore[union-attr]
    assert [row["id"] for row in run.rows()] == ["1-0000000", "1-0000002", "1-0000003"]
    assert (facts["accepted"], facts["considered"]) == (6, 4)


def test_a_set_is_the_same_bytes_however_many_rounds_there_were_by_then(world: Callable[..., Rounds], tmp_path: Path) -> None:
    run = world(3)
    run.judged([WHOLE, CUT, WHOLE, WHOLE])
    first = run.select().manifest
    run.store = other = a_store(tmp_path / "other")
    for key in FolderStore(tmp_path / "store").list(""):
        if "/select/" not in key:
            other.put(key, FolderStore(tmp_path / "store").get(key))
    run.judged([WHOLE])
    again = run.select().manifest
    assert first is not None
    assert again is not None
    assert first.digest == again.digest


@pytest.mark.fault(46)
def test_one_answer_over_the_sequence_length_is_unfit_and_another_instruction_takes_its_place(world: Callable[..., Rounds]) -> None:
    run = world(2, sequenceLength=64)
    run.judged([WHOLE, [("coast " * 500, "stop")], WHOLE])
    manifest = run.select().manifest
    assert manifest is not None
    assert [row["id"] for row in run.rows()] == ["1-0000000", "1-0000002"]
    assert manifest.refused == {"conversation-too-long": 1}


def test_the_next_best_answer_wins_where_the_best_one_is_too_long(world: Callable[..., Rounds]) -> None:
    run = world(1, sequenceLength=64)
    run.judged([WHOLE], [[("coast " * 500, "stop")]], scores=(3, 5))
    assert run.select().manifest is not None
    (row,) = run.rows()
    assert (row["member"], row["answer"], row["mean"]) == ("base", "By the coast.", 3.0)


def test_a_conversation_fits_to_the_token_as_mix_counts_it(
    world: Callable[..., Rounds], tmp_path: Path, store: FolderStore
) -> None:
    for name, data in talking_model(tmp_path / "files").items():
        (tmp_path / name).write_bytes(data)
    said = [Message("user", "Where is 1-0000000?"), Message("assistant", "By the coast.")]
    tokens = len(tokenise_sample(ChatTokenizer.load(tmp_path), said).ids)
    fits, not_quite = world(1, sequenceLength=tokens), world(1, sequenceLength=tokens - 1)
    fits.judged([WHOLE])
    assert fits.select().manifest is not None
    not_quite.rounds = 1
    with pytest.raises(TooManyRefused, match=rf"conversation-too-long 1\); raise spec.training.sequenceLength \({tokens - 1}\)"):
        not_quite.select()


@pytest.mark.fault(46)
def test_where_too_many_answers_are_cut_off_the_run_refuses_with_the_numbers_and_what_to_change(
    world: Callable[..., Rounds],
) -> None:
    run = world(60)
    run.judged([WHOLE if number % 3 == 0 else CUT for number in range(63)])
    with pytest.raises(TooManyRefused) as failure:
        run.select()
    assert str(failure.value) == (
        "42 of 63 instructions became no conversation (answers-truncated 42); 84 of 126 answers were cut off at 384 tokens or "
        "their model's limit; raise spec.rehearsal.reconstructed.committee.sampling.maxTokens (384), and serving.maxModelLen with it. "
        "That is more than the share spec.rehearsal.reconstructed.filters.maxRefused 0.5 allows: "
        "what is left would be bent towards what was not lost"
    )
    assert run.context.output.manifest() is None


def test_the_last_round_that_falls_short_fails_with_the_arithmetic(world: Callable[..., Rounds]) -> None:
    run = world(30)
    for round_ in range(1, MAX_ROUNDS + 1):
        run.judged([WHOLE, WHOLE, CUT], refused=1)
        if round_ < MAX_ROUNDS:
            assert run.select().another_round == round_ + 1
    with pytest.raises(TooManyRefused) as failure:
        run.select()
    assert str(failure.value).startswith(
        "8 of 30 conversations are whole after 4 rounds: 16 instructions were elicited and 12 accepted; "
        "4 of 12 instructions became no conversation (answers-truncated 4); "
    )
    assert str(failure.value).endswith("; or lower spec.rehearsal.reconstructed.count, or loosen its filters")


def test_instructions_that_are_cut_off_before_they_are_asked_are_a_loss_that_is_told_too(world: Callable[..., Rounds]) -> None:
    run = world(20)
    run.judged([WHOLE] * 20, refused=3)
    assert run.select().warning == (
        "3 of 23 elicited instructions were refused (truncated 3); raise spec.rehearsal.reconstructed.sampling.maxTokens (32), "
        "and baseModel.serving.maxModelLen with it; what is kept is bent towards what was not lost"
    )


def test_answers_that_are_cut_off_are_told_though_no_instruction_is_lost_to_them(world: Callable[..., Rounds]) -> None:
    run = world(20)
    run.judged([WHOLE] * 20, [*[CUT] * 5, *[WHOLE] * 15])
    assert run.select().warning.startswith("5 of 40 answers were cut off at 384 tokens or their model's limit; raise spec.")


def test_a_little_loss_is_no_warning(world: Callable[..., Rounds]) -> None:
    run = world(20)
    run.judged([*[WHOLE] * 20, CUT])
    assert run.select().warning == ""


def test_a_seal_that_is_found_tells_its_warning_again(world: Callable[..., Rounds]) -> None:
    run = world(2)
    run.judged([WHOLE, CUT, WHOLE])
    assert run.select().warning == run.select().warning != ""


def test_rows_of_another_instruction_are_never_put_together(world: Callable[..., Rounds]) -> None:
    run = world(2)
    run.judged([WHOLE, WHOLE])
    wrong = run.context.artifact("respond-peer")
    for key in list(run.store.list(wrong.layout.prefix)):
        (run.store.root / key).unlink()
    answer = {"text": "Here.", "ids": [1], "finish": "stop"}
    wrong.commit_shard(0, [{"id": id_, "answers": [answer]} for id_ in ("1-0000001", "1-0000000")])
    wrong.seal(1)
    with pytest.raises(CorruptInput, match="respond-peer has row 1-0000001 where 1-0000000 was expected"):
        run.select()
