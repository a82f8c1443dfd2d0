"""Choose the best answer to every instruction: the reconstructed set, a data set of its own with a card."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from rehearsal.api.messages import TooManyRefused
from rehearsal.api.reconstruction import Pruning, Reconstructed
from rehearsal.data.filters import Output, unfit
from rehearsal.judging.agreement import Leaning, Unit, krippendorff_alpha, leanings, units
from rehearsal.judging.jury import Fit, Jury, Scores
from rehearsal.judging.pruning import audited
from rehearsal.judging.selection import Selected, select
from rehearsal.pipeline.reconstruction import judges
from rehearsal.store.commit import File
from rehearsal.worker.context import Context, Outcome, reconstruction

Fact = str | int | float
NO_CONTROL: frozenset[int] = frozenset()


def run(context: Context) -> Outcome:
    """Seal rows `{"id", "instruction", "answer", "member", "sample", "mean", "minimum", "verdicts", "decided"}`.

    `decided` names the rule that set the winner apart; null where pruning left it unknown.
    """
    if sealed := context.output.manifest():
        return Outcome(sealed)
    made = reconstruction(context.spec)
    jury = Jury.of(made, judges(made))
    names = [member.name for member in made.committee.members]
    rows: list[dict[str, Any]] = []
    judged: list[Unit] = []
    nobody = 0
    for instruction, answers, verdicts in _cases(context):
        fit = fitness(answers)
        whole = made.judging.pruning is Pruning.NONE or audited(instruction["id"], context.spec.seed, made.count)
        if whole:
            judged += units(fit, verdicts)
        chosen = select(jury, verdicts, fit)
        if chosen is None:
            nobody += 1
        else:
            rows.append(_row(instruction, answers, chosen, names) | {"decided": str(chosen.decided_by) if whole else None})
    if not rows:
        raise TooManyRefused("no instruction has an answer with enough readable verdicts: nothing to train on", "NothingToTrain")
    shards = context.commit_rows(rows, Counter({"no-answer": nobody} if nobody else {}))
    return Outcome(context.output.seal(shards, files=[_card(context, made, len(rows))], facts=_facts(made, jury, judged)))


def fitness(answers: list[list[Mapping[str, Any]]]) -> Fit:
    """Return which answers may be chosen at all, [member][sample]: whole ones that say something."""
    return [[unfit(Output(a["text"], a["ids"], a["finish"]), NO_CONTROL) is None for a in own] for own in answers]


def _cases(context: Context) -> Iterator[tuple[Mapping[str, Any], list[list[Mapping[str, Any]]], list[Scores]]]:
    """Yield each instruction with every member's answers and every judge's scores; all are in the same order."""
    responses = [context.input(label).rows() for label in context.stage.inputs if label.startswith("responses.")]
    verdicts = [context.input(label).rows() for label in context.stage.inputs if label.startswith("verdicts.")]
    for instruction, *others in zip(context.input("instructions").rows(), *responses, *verdicts, strict=True):
        answered, judged = others[: len(responses)], others[len(responses) :]
        yield instruction, [row["answers"] for row in answered], [row["scores"] for row in judged]


def _row(
    instruction: Mapping[str, Any], answers: list[list[Mapping[str, Any]]], chosen: Selected, names: list[str]
) -> dict[str, Any]:
    return {
        "id": instruction["id"],
        "instruction": instruction["text"],
        "answer": answers[chosen.member][chosen.sample]["text"],
        "member": names[chosen.member],
        "sample": chosen.sample,
        "mean": None if chosen.mean is None else round(chosen.mean, 4),
        "minimum": None if chosen.minimum is None else round(chosen.minimum, 4),
        "verdicts": chosen.verdicts,
    }


def _facts(made: Reconstructed, jury: Jury, judged: list[Unit]) -> dict[str, Fact]:
    """Agreement between the judges, from the instructions that all of them judged in full."""
    facts: dict[str, Fact] = {"auditedAnswers": len(judged)}
    alpha = krippendorff_alpha(judged)
    if alpha is not None:
        facts["alpha"] = round(alpha, 4)
    for judge, leaning in zip(judges(made), leanings(judged, jury.judges), strict=True):
        facts |= _leaning_facts(judge.name, leaning)
    return facts


def _leaning_facts(name: str, leaning: Leaning) -> dict[str, Fact]:
    figures = {"mean": leaning.mean, "bias": leaning.bias, "selfPreference": leaning.self_preference}
    known: dict[str, Fact] = {f"{figure}.{name}": round(value, 4) for figure, value in figures.items() if value is not None}
    return known | {f"abstained.{name}": leaning.abstained}


CARD = """\
# Reconstructed alignment data

{count:,} instructions sampled from the base model with the pre-query part of its chat template, each with the answer that a
committee of {members} chose: answers a member: {samples}, scored by {judges}.

Rows: `id`, `instruction`, `answer`, `member`, `sample`, `mean` and `minimum` of the scores, `verdicts`, `decided`
(what set the winner apart). Made by models: check their licences before you share it.
"""


def _card(context: Context, made: Reconstructed, count: int) -> File:
    path = context.scratch / "README.md"
    path.write_text(
        CARD.format(
            count=count,
            members=", ".join(member.name for member in made.committee.members),
            samples=made.committee.responses_per_member,
            judges=", ".join(judge.name for judge in judges(made)) or "nobody: there is nothing to choose between",
        )
    )
    return context.output.add_file("README.md", path)
