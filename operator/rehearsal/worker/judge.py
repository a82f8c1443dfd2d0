"""A judge scores the committee's answers to every instruction, those left out that can no longer win.

The answers to one instruction are judged one after another, so that the engine finds what their prompts share in its cache.
A judge is greedy, so answers that read the same get the same score from one request.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from rehearsal.api.messages import Usage
from rehearsal.api.reconstruction import Pruning
from rehearsal.inference.client import Engine
from rehearsal.inference.endpoint import Endpoint
from rehearsal.judging.jury import Candidate, Fit, Jury, candidates
from rehearsal.judging.pruning import audited, outstanding
from rehearsal.pipeline.external import BASE
from rehearsal.pipeline.reconstruction import judges, member_input
from rehearsal.prompts.model import ChatModel
from rehearsal.store.commit import Artifact
from rehearsal.worker.cases import Case, fitness
from rehearsal.worker.context import Context, Outcome, reconstruction
from rehearsal.worker.endpoint_stage import control_strings, run_on_endpoint
from rehearsal.worker.engine_stage import max_model_len, run_on_engine
from rehearsal.worker.scoring import Scored, Scorer, endpoint_scorer, scorer
from rehearsal.worker.shards import REFUSED, Made, Work
from rehearsal.worker.slices import rows_between, same_ids

Client = TypeVar("Client")


def run(context: Context) -> Outcome:
    """Seal rows `{"id", "scores", "pruned"}`.

    `scores` is [member][sample]; null where the judge abstained or was not asked. `pruned` lists the [member, sample] that
    it was spared; answers that are unfit are not asked about and not listed. `refused` counts answers that a judge behind an
    endpoint was not shown, or declined, by reason.
    """
    return run_on_endpoint(context, _behind_endpoint) if context.stage.endpoint else run_on_engine(context, _on_engine)


def _on_engine(context: Context) -> "_Judging[Engine]":
    made = reconstruction(context.spec)
    return _Judging.of(context, scorer(made.judging, ChatModel.load(context.model_dir), max_model_len(context)))


def _behind_endpoint(context: Context) -> "_Judging[Endpoint]":
    made = reconstruction(context.spec)
    answering = dict.fromkeys([BASE, *(member_input(member) for member in made.committee.members if not member.endpoint)])
    return _Judging.of(context, endpoint_scorer(made.judging, control_strings(context, answering), context.spec.seed))


@dataclass(frozen=True)
class _Judging(Generic[Client]):
    instructions: Artifact
    responses: Sequence[Artifact]
    verdicts: Sequence[Artifact]
    jury: Jury
    judge: int
    pruning: Pruning
    seed: int
    count: int
    scorer: Scorer[Client]

    @classmethod
    def of(cls, context: Context, scorer: Scorer[Client]) -> "_Judging[Client]":
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
            scorer=scorer,
        )

    @property
    def work(self) -> Work[Case]:
        return Work(self.instructions.sealed().rows, self._cases)

    async def produce(self, client: Client, _index: int, item: Case) -> Made:
        fit = fitness(item.answers)
        asked = self._asked(item, fit)
        scores: list[list[float | None]] = [[None] * len(own) for own in item.answers]
        known: dict[str, Scored] = {}
        for member, sample in asked:
            text = str(item.answers[member][sample]["text"])
            if text not in known:
                known[text] = await self.scorer.score(client, item.text, text)
            scores[member][sample] = known[text].score
        pruned = [list(candidate) for candidate in candidates(fit) if candidate not in asked]
        refused = Counter(scored.refused for scored in known.values() if scored.refused)
        row = {"id": item.id, "scores": scores, "pruned": pruned} | ({REFUSED: dict(sorted(refused.items()))} if refused else {})
        return row, sum((scored.usage for scored in known.values()), start=Usage())

    def _asked(self, item: Case, fit: Fit) -> list[Candidate]:
        if self.pruning is Pruning.NONE or audited(item.id, self.seed, self.count):
            return list(candidates(fit))
        return outstanding(self.jury, self.judge, item.scores, fit)

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
