"""The cases of a round: each instruction with the committee's answers to it and the judges' scores of them, read side by side."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rehearsal.api.messages import CorruptInput
from rehearsal.judging.jury import Fit, Scores
from rehearsal.pipeline.reconstruction import Round
from rehearsal.store.commit import Artifact
from rehearsal.worker.context import Context
from rehearsal.worker.funnel import answer_unfit
from rehearsal.worker.slices import same_ids

Answers = list[list[Mapping[str, Any]]]


@dataclass(frozen=True)
class Case:
    """One instruction, every member's answers to it, and every judge's scores that there are."""

    id: str
    text: str
    answers: Answers
    scores: Sequence[Scores]


def fitness(answers: Answers) -> Fit:
    """Return which answers may be chosen at all, [member][sample]: whole ones that say something."""
    return [[answer_unfit(a["text"], a["ids"], a["finish"]) is None for a in own] for own in answers]


def cases_of(context: Context, names: Round) -> Iterator[Case]:
    """Yield the cases of a judged round, in the order in which its instructions were elicited."""
    instructions = context.artifact(names.instructions)
    responses = [context.artifact(name) for name in names.responses]
    verdicts = [context.artifact(name) for name in names.verdicts]
    beside = [*responses, *verdicts]
    for artifact in beside:
        _check_length(instructions, artifact)
    for first, *others in zip(instructions.rows(), *(artifact.rows() for artifact in beside), strict=True):
        for artifact, row in zip(beside, others, strict=True):
            same_ids(first, row, artifact)
        answers = [row["answers"] for row in others[: len(responses)]]
        yield Case(first["id"], first["text"], answers, [row["scores"] for row in others[len(responses) :]])


def _check_length(instructions: Artifact, artifact: Artifact) -> None:
    rows, expected = artifact.sealed().rows, instructions.sealed().rows
    if rows != expected:
        raise CorruptInput(
            f"{artifact.stage} has {rows:,} rows, and {instructions.stage} {expected:,}", "RowsMissing", artifact.stage
        )
