"""Choose the best answer to every instruction that can be trained on: the reconstructed set, a data set of its own with a card.

Rounds are read in order until `count` conversations are whole. Falling short asks for another round. Where too many instructions
are lost, which would bend the set, or where the last round falls short, the run fails and says what to change.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from rehearsal.api.messages import TooManyRefused
from rehearsal.api.reconstruction import Pruning, Reconstructed
from rehearsal.data.fitting import Verdict
from rehearsal.judging.agreement import Agreement, Leaning, units
from rehearsal.judging.jury import Jury
from rehearsal.judging.pruning import audited
from rehearsal.judging.selection import Selected, select
from rehearsal.pipeline.reconstruction import Round, judges
from rehearsal.pipeline.stage import MAX_ROUNDS
from rehearsal.prompts.model import ChatModel
from rehearsal.prompts.template import Message
from rehearsal.report.contents import Fact
from rehearsal.report.losses import Loss, told, warning
from rehearsal.store.commit import File, Manifest
from rehearsal.worker.cases import Case, cases_of
from rehearsal.worker.context import Context, Outcome, reconstruction
from rehearsal.worker.funnel import Funnel, answer_unfit, unanswered
from rehearsal.worker.models import fetch_tokenizer
from rehearsal.worker.sets import Unfit, measured
from rehearsal.worker.shelf import Shelf

Row = dict[str, Any]
MISFITS = {Verdict.NOT_ENCODABLE: Loss.NOT_ENCODABLE, Verdict.TOO_LONG: Loss.TOO_LONG}
"""What a conversation is lost for that `mix` would not take."""


def run(context: Context) -> Outcome:
    """Seal `count` rows `{"id", "instruction", "answer", "member", "sample", "mean", "minimum", "verdicts", "decided"}`.

    They are the first whole conversations in the order of elicitation. `decided` names the rule that set the winner apart; null where
    pruning left it unknown. The facts tell what was elicited, accepted, answered and judged, and the lengths of all and of the kept.
    """
    if sealed := context.output.manifest():
        return _outcome(context, sealed)
    selection = _Selection.of(context)
    kept = Shelf(context.scratch / "kept")
    kept.fill(selection.conversations(context))
    facts = _reached(context, selection.rounds) | selection.funnel.facts()
    _check_losses(context, selection.funnel, facts)
    if kept.rows < selection.made.count:
        return _another_round(context, selection.funnel, facts)
    shards = context.commit_rows(kept.read(), selection.funnel.lost)
    files = [_card(context, selection.made, kept.rows)]
    return _outcome(context, context.output.seal(shards, files, facts | _agreement_facts(selection)))


def _outcome(context: Context, sealed: Manifest) -> Outcome:
    return Outcome(sealed, warning=warning(context.spec, sealed.facts, sealed.refused))


@dataclass
class _Selection:
    """One pass over the rounds. `rounds`: how many were read, which is how many it took."""

    made: Reconstructed
    jury: Jury
    seed: int
    model: ChatModel
    longest: int
    funnel: Funnel
    agreement: Agreement
    rounds: int = 0
    names: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, context: Context) -> "_Selection":
        spec, made = context.spec, reconstruction(context.spec)
        jury = Jury.of(made, judges(made))
        model = fetch_tokenizer(context, "tokenizer")
        longest = spec.training.sequence_length
        names = [member.name for member in made.committee.members]
        return cls(made, jury, spec.seed, model, longest, Funnel(), Agreement(jury.judges), names=names)

    def conversations(self, context: Context) -> Iterator[Row]:
        """Yield whole conversations until there are `count`, or the rounds so far are at their end."""
        rounds = [Round.of(self.made, number) for number in range(1, context.task.rounds + 1)]
        accepted = sum(context.artifact(names.instructions).sealed().rows for names in rounds)
        for names in rounds:
            if self.funnel.whole < self.made.count:
                self.rounds = names.number
                for case in cases_of(context, names):
                    if row := self._conversation(case):
                        yield row
                    context.progress(self.funnel.considered, accepted)
                    if self.funnel.whole == self.made.count:
                        break

    def _conversation(self, case: Case) -> Row | None:
        """Return the row that a case becomes; count it, or why it becomes none."""
        self.funnel.consider(case.text)
        reasons = [[answer_unfit(a["text"], a["ids"], a["finish"]) for a in own] for own in case.answers]
        for own, given in zip(case.answers, reasons, strict=True):
            for answer, reason in zip(own, given, strict=True):
                self.funnel.answer(answer["text"], answer["finish"], whole=reason is None)
        fit = [[reason is None for reason in given] for given in reasons]
        in_full = self.made.judging.pruning is Pruning.NONE or audited(case.id, self.seed, self.made.count)
        if in_full:
            for unit in units(fit, case.scores):
                self.agreement.add(unit)
        if not any(map(any, fit)):
            self.funnel.lost[unanswered(reason for given in reasons for reason in given if reason)] += 1
            return None
        chosen = self._best(case, fit)
        if isinstance(chosen, Loss):
            self.funnel.lost[chosen] += 1
            return None
        row = _row(case, chosen, self.names) | {"decided": str(chosen.decided_by) if in_full else None}
        self.funnel.keep(case.text, row["answer"])
        return row

    def _best(self, case: Case, fit: list[list[bool]]) -> Selected | Loss:
        """Return the best answer that can be trained on; the next best where it cannot, by the verdicts that one has."""
        loss = Loss.NO_VERDICT
        while chosen := select(self.jury, case.scores, fit):
            misfit = self._misfit(case.text, case.answers[chosen.member][chosen.sample]["text"])
            if misfit is None:
                return chosen
            loss = misfit
            fit[chosen.member][chosen.sample] = False
        return loss

    def _misfit(self, instruction: str, answer: str) -> Loss | None:
        """Return why a conversation cannot be trained on, as `mix` will find it."""
        found = measured(self.model, [Message("user", instruction), Message("assistant", answer)], self.longest)
        return MISFITS[found.verdict] if isinstance(found, Unfit) else None


def _reached(context: Context, rounds: int) -> dict[str, Fact]:
    """Return what these rounds elicited and accepted, and by reason what filter refused."""
    made = reconstruction(context.spec)
    seals = [context.artifact(Round.of(made, number).instructions).sealed() for number in range(1, rounds + 1)]
    refused: dict[str, Fact] = {}
    for reason in sorted({reason for seal in seals for reason in seal.refused}):
        refused[f"refused.{reason}"] = sum(seal.refused.get(reason, 0) for seal in seals)
    accepted = sum(seal.rows for seal in seals)
    elicited, characters = (sum(int(seal.facts[name]) for seal in seals) for name in ("elicited", "characters"))
    length = {"meanLength.instructions.elicited": round(characters / max(1, elicited), 1)}
    return {"rounds": rounds, "elicited": elicited, "accepted": accepted, **refused, **length}


def _check_losses(context: Context, funnel: Funnel, facts: dict[str, Fact]) -> None:
    """Refuse a set that its losses bend: of more than `maxRefused` of the instructions no conversation came."""
    lost, most = funnel.lost.total(), reconstruction(context.spec).filters.max_refused
    if lost == 0:
        return
    words = told(context.spec, facts, funnel.lost)
    if not funnel.whole:
        raise TooManyRefused(f"nothing to train on: {words}", "NothingToTrain")
    if lost > most * funnel.considered:
        raise TooManyRefused(
            f"{words}. That is more than the share spec.rehearsal.reconstructed.filters.maxRefused {most:g} allows: "
            "what is left would be bent towards what was not lost"
        )


def _another_round(context: Context, funnel: Funnel, facts: dict[str, Fact]) -> Outcome:
    """Ask for the next round, saying why; after the last one, fail with the arithmetic."""
    count, rounds = reconstruction(context.spec).count, context.task.rounds
    words = (
        f"{funnel.whole:,} of {count:,} conversations are whole after {rounds} round{'s' * (rounds > 1)}: "
        f"{facts['elicited']:,} instructions were elicited and {facts['accepted']:,} accepted"
    )
    words += f"; {told(context.spec, facts, funnel.lost)}" if funnel.lost else ""
    if rounds < MAX_ROUNDS:
        return Outcome(None, another_round=rounds + 1, warning=words)
    raise TooManyRefused(f"{words}; or lower spec.rehearsal.reconstructed.count, or loosen its filters")


def _row(case: Case, chosen: Selected, names: list[str]) -> Row:
    return {
        "id": case.id,
        "instruction": case.text,
        "answer": case.answers[chosen.member][chosen.sample]["text"],
        "member": names[chosen.member],
        "sample": chosen.sample,
        "mean": None if chosen.mean is None else round(chosen.mean, 4),
        "minimum": None if chosen.minimum is None else round(chosen.minimum, 4),
        "verdicts": chosen.verdicts,
    }


def _agreement_facts(selection: _Selection) -> dict[str, Fact]:
    """Agreement between the judges, from the instructions that all of them judged in full."""
    facts: dict[str, Fact] = {"auditedAnswers": selection.agreement.units}
    alpha = selection.agreement.alpha()
    if alpha is not None:
        facts["alpha"] = round(alpha, 4)
    for judge, leaning in zip(judges(selection.made), selection.agreement.leanings(), strict=True):
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
