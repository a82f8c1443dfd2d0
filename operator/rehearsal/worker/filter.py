"""Take every fit instruction of a round, in the order they were elicited; count what was refused, and why.

A round that is mostly unfit fails the run. Whether there are enough conversations in the end is for `select` to say.
"""

from collections.abc import Iterator
from typing import Any

from rehearsal.data.filters import Intake, Output
from rehearsal.worker.context import Context, Outcome, reconstruction
from rehearsal.worker.models import fetch_tokenizer


def run(context: Context) -> Outcome:
    """Seal rows `{"id", "text"}`: an instruction keeps the id under which it was elicited, which tells its round."""
    if sealed := context.output.manifest():
        return Outcome(sealed)
    filters = reconstruction(context.spec).filters
    intake = Intake(filters, fetch_tokenizer(context, "model").control_ids, _earlier(context))
    shards = context.commit_rows(_accepted(context, intake), intake.refused)
    intake.check()
    facts = {"elicited": intake.accepted + intake.refused.total(), "characters": intake.characters}
    return Outcome(context.output.seal(shards, facts=facts))


def _earlier(context: Context) -> Iterator[str]:
    """Yield the instructions that earlier rounds accepted, where the table has this round read them."""
    for label in context.stage.inputs:
        if label.startswith("earlier."):
            yield from (str(row["text"]) for row in context.input(label).rows())


def _accepted(context: Context, intake: Intake) -> Iterator[dict[str, Any]]:
    for row in context.input("elicited").rows():
        if intake.accepts(Output(row["text"], row["ids"], row["finish"])):
            yield {"id": row["id"], "text": row["text"]}
