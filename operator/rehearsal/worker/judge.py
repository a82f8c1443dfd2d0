"""A judge scores the committee's answers to every instruction, those left out that can no longer win.

The answers to one instruction are judged one after another, so that the engine finds what their prompts share in its cache.
A judge is greedy, so answers that read the same get the same score from one request.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rehearsal.api.messages import Usage
from rehearsal.api.reconstruction import Pruning
from rehearsal.inference.client import Engine
from rehearsal.judging.jury import Candidate, Fit, Jury, Scores, candidates
from rehearsal.judging.pruning import audited, outstanding
from rehearsal.pipeline.reconstruction import judges
from rehearsal.prompts.chat import ChatTokenizer
from rehearsal.store.commit import Artifact
from rehearsal.worker.context import Context, Outcome, reconstruction
from rehearsal.worker.engine_stage import max_model_len, run_on_engine
from rehearsal.worker.scoring import Scorer, scorer
from rehearsal.worker.select import fitness
from rehearsal.worker.shards import Made, Work
from rehearsal.worker.slices import rows_between, same_ids

Answers = list[list[Mapping[str, Any]]]


@dataclass(frozen=True)
class Case:
    """One instruction, every member's answers to it, and the scores of the judges before."""

    id: str
    text: str
    answers: Answers
    earlier: Sequence[Scores]


def run(context: Context) -> Outcome:
    """Seal rows `{"id", "scores", "pruned"}`.

    `scores` is [member][sample]; null where the judge abstained or was not asked. `pruned` lists the [member, sample] that
    it was spared; answers that are unfit are not asked about and not listed.
    """
    return run_on_engine(context, _Judging.of)


@dataclass(frozen=True)
class _Judging:
    instructions: Artifact
    responses: Sequence[Artifact]
    verdicts: Sequence[Artifact]
    jury: Jury
    judge: int
    pruning: Pruning
    seed: int
    count: int
    scorer: Scorer

    @classmethod
    def of(cls, context: Context) -> "_Judging":
        made = reconstruction(context.spec)
        jury_members, labels = judges(made), context.stage.inputs
        return cls(
            instructions=context.input("instructions"),
            responses=[context.input(label) for label in labels if label.startswith("responses.")],
            verdicts=[context.input(label) for label in labels if label.startswith("verdicts.")],
            jury=Jury.of(made, jury_members),
            judge=[member.name for member in jury_members].index(str(context.stage.subject)),
            pruning=made.judging.pruning,
            seed=context.spec.seed,
            count=made.count,
            scorer=scorer(made.judging, ChatTokenizer.load(context.model_dir), max_model_len(context)),
        )

    @property
    def work(self) -> Work[Case]:
        return Work(self.instructions.sealed().rows, self._cases)

    async def produce(self, engine: Engine, _index: int, item: Case) -> Made:
        fit = fitness(item.answers)
        asked = self._asked(item, fit)
        scores: list[list[float | None]] = [[None] * len(own) for own in item.answers]
        known: dict[str, float | None] = {}
        usage = Usage()
        for member, sample in asked:
            text = str(item.answers[member][sample]["text"])
            if text not in known:
                known[text], spent = await self.scorer.score(engine, item.text, text)
                usage += spent
            scores[member][sample] = known[text]
        pruned = [list(candidate) for candidate in candidates(fit) if candidate not in asked]
        return {"id": item.id, "scores": scores, "pruned": pruned}, usage

    def _asked(self, item: Case, fit: Fit) -> list[Candidate]:
        if self.pruning is Pruning.NONE or audited(item.id, self.seed, self.count):
            return list(candidates(fit))
        return outstanding(self.jury, self.judge, item.earlier, fit)

    def _cases(self, start: int, stop: int) -> list[Case]:
        instructions = rows_between(self.instructions, start, stop)
        answers = [_beside(instructions, start, artifact, "answers") for artifact in self.responses]
        verdicts = [_beside(instructions, start, artifact, "scores") for artifact in self.verdicts]
        return [
            Case(row["id"], row["text"], [own[i] for own in answers], [given[i] for given in verdicts])
            for i, row in enumerate(instructions)
        ]


def _beside(instructions: Sequence[Mapping[str, Any]], start: int, artifact: Artifact, key: str) -> list[Any]:
    rows = rows_between(artifact, start, start + len(instructions))
    return [same_ids(first, row, artifact)[key] for first, row in zip(instructions, rows, strict=True)]
