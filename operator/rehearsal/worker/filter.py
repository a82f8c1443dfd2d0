"""Take exactly N fit instructions, in the order they were elicited; count what was refused, and why.

Falling short asks for another round of elicitation; after the last round, or where most rows are unfit, the run fails.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from rehearsal.api.messages import TooManyRefused
from rehearsal.api.reconstruction import Reconstructed
from rehearsal.data.filters import Intake, Output
from rehearsal.pipeline.stage import MAX_ROUNDS, Kind
from rehearsal.store.commit import Manifest
from rehearsal.worker.context import Context, Outcome, reconstruction
from rehearsal.worker.models import fetch_tokenizer


def run(context: Context) -> Outcome:
    """Seal N rows `{"id", "source", "text"}`, or ask for the next round."""
    if sealed := context.output.manifest():
        return Outcome(sealed)
    made = reconstruction(context.spec)
    tokenizer = fetch_tokenizer(context, "model")
    intake = Intake(made.count, made.filters, tokenizer.control_ids)
    accepted = [
        {"id": f"i{number:07d}", "source": row["id"], "text": row["text"]} for number, row in enumerate(_taken(context, intake))
    ]
    intake.check()
    if intake.full:
        return Outcome(_seal(context, accepted, Counter({str(reason): count for reason, count in intake.refused.items()})))
    return Outcome(None, another_round=_next_round(context, made, intake))


def _taken(context: Context, intake: Intake) -> Iterator[Mapping[str, Any]]:
    for stage in context.stages.values():
        if stage.kind is not Kind.ELICIT:
            continue
        for row in context.artifact(stage.name).rows():
            if intake.full:
                return
            if intake.accepts(Output(row["text"], row["ids"], row["finish"])):
                yield row


def _next_round(context: Context, made: Reconstructed, intake: Intake) -> int:
    if context.task.rounds >= MAX_ROUNDS:
        raise TooManyRefused(
            f"{intake.accepted:,} of {made.count:,} instructions were accepted in {MAX_ROUNDS} rounds of elicitation; "
            "lower spec.rehearsal.reconstructed.count, or loosen its filters"
        )
    return context.task.rounds + 1


def _seal(context: Context, rows: list[dict[str, Any]], refused: Counter[str]) -> Manifest:
    shards = context.commit_rows(rows, refused)
    return context.output.seal(shards, facts={"rounds": context.task.rounds})
