"""Mix the rehearsal set with the domain set and tokenise both: the training set, in its order, with a card.

Rows longer than `sequenceLength`, or that the template cannot carry, are refused and counted, never cut. Neither set is held
in memory: rows that fit wait on scratch until their numbers have given the plan.
"""

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from typing import Any

from rehearsal.data.fitting import Verdict
from rehearsal.data.mixture import MixturePlan, Pick, Source, mixed, plan_mixture
from rehearsal.pipeline.stage import ROWS_PER_SHARD
from rehearsal.prompts.model import ChatModel
from rehearsal.store.commit import File
from rehearsal.worker.context import Context, Outcome
from rehearsal.worker.models import fetch_tokenizer
from rehearsal.worker.sets import Conversations, Row, Unfit, domain_set, draw, measured, rehearsal_set
from rehearsal.worker.spool import Spool

Fact = str | int | float


@dataclass(frozen=True)
class Taken:
    """A set as it enters the mix: where in the spool its rows lie, in its order, and what was found of those looked at."""

    spool: Spool
    places: Sequence[int]
    seen: Counter[Verdict]


@dataclass
class Written:
    """What has been committed so far."""

    shards: int = 0
    tokens: int = 0
    trained: int = 0


def run(context: Context) -> Outcome:
    """Seal rows `{"id", "source", "ids", "spans", "repeat"}` in training order; spans are half-open and carry the loss."""
    if sealed := context.output.manifest():
        return Outcome(sealed)
    model = fetch_tokenizer(context, "tokenizer")
    with ExitStack() as open_spools:
        taken: dict[Source, Taken] = {}
        for source, given in _sets(context):
            spool = open_spools.enter_context(Spool(context.scratch / f"{source}.rows"))
            taken[source] = _take(context, source, given, model, spool)
        rehearsal = len(taken[Source.REHEARSAL].places) if Source.REHEARSAL in taken else None
        plan = plan_mixture(rehearsal, len(taken[Source.DOMAIN].places), context.spec.mixture)
        written = _write(context, plan, taken)
    facts = _facts(plan, taken, written)
    return Outcome(context.output.seal(written.shards, files=[_card(context, facts, taken)], facts=facts))


def _sets(context: Context) -> Iterator[tuple[Source, Conversations]]:
    yield Source.DOMAIN, domain_set(context)
    if rehearsal := rehearsal_set(context):
        yield Source.REHEARSAL, rehearsal


def _take(context: Context, source: Source, given: Conversations, model: ChatModel, spool: Spool) -> Taken:
    """Put the rows that fit into the spool: all of a set, or as many as are wanted of it."""
    spooled = array("I", [0]) * given.rows
    looked = 0

    def look(index: int, row: Row) -> Verdict:
        nonlocal looked
        looked += 1
        context.progress(looked, max(given.wanted or given.rows, looked + 1), f"{source} rows")
        found = measured(model, row[1], context.spec.training.sequence_length)
        if isinstance(found, Unfit):
            return found.verdict
        spooled[index] = len(spool)
        spool.add(row[0], found)
        return Verdict.FIT

    drawn = draw(context, given, look)
    return Taken(spool, array("I", (spooled[index] for index in drawn.rows())), drawn.seen)


def _write(context: Context, plan: MixturePlan, taken: dict[Source, Taken]) -> Written:
    """Commit the rows of the plan in their order. One row is in memory at a time, and a shard's compressed bytes."""
    refused = {
        f"{source}-{verdict.reason}": found.seen[verdict]
        for source, found in sorted(taken.items())
        for verdict in (Verdict.NOT_ENCODABLE, Verdict.TOO_LONG)
        if found.seen[verdict]
    }
    picks, done = mixed(plan, f"{context.spec.seed}/{context.spec.rerun}"), Written()
    while batch := list(islice(picks, ROWS_PER_SHARD)):
        context.output.commit_shard(done.shards, (_row(pick, taken) for pick in batch), {} if done.shards else refused)
        done.shards += 1
        done.tokens += sum(taken[pick.source].spool.tokens(_place(pick, taken)) for pick in batch)
        done.trained += sum(taken[pick.source].spool.trained(_place(pick, taken)) for pick in batch)
        context.progress(min(plan.total, done.shards * ROWS_PER_SHARD), plan.total)
    return done


def _place(pick: Pick, taken: dict[Source, Taken]) -> int:
    return taken[pick.source].places[pick.index]


def _row(pick: Pick, taken: dict[Source, Taken]) -> dict[str, Any]:
    return taken[pick.source].spool.row(_place(pick, taken)) | {"source": str(pick.source), "repeat": pick.repeat}


def _facts(plan: MixturePlan, taken: dict[Source, Taken], written: Written) -> dict[str, Fact]:
    facts: dict[str, Fact] = {
        "rehearsalRows": plan.rehearsal,
        "domainRows": plan.domain,
        "domainFraction": round(plan.domain_fraction, 4),
        "domainUsed": round(plan.domain_used, 4),
        "domainRepeats": plan.domain_repeats,
        "tokens": written.tokens,
        "trainedTokens": written.trained,
    }
    for source, found in taken.items():
        facts |= {
            f"{source}Read": found.seen.total(),
            f"{source}TooLong": found.seen[Verdict.TOO_LONG],
            f"{source}NotEncodable": found.seen[Verdict.NOT_ENCODABLE],
        }
    return facts


CARD = """\
# Training set

{rehearsalRows:,} rehearsal rows and {domainRows:,} domain rows ({domainFraction:.2%} of the mix), {tokens:,} tokens, of which
{trainedTokens:,} carry the loss: the assistant's turns. Refused: {long:,} rows over {length:,} tokens, and {strange:,} that the
base model's chat template cannot carry.

Rows are in training order: `id`, `source`, `ids` (tokens), `spans` (half-open ranges of `ids` that carry the loss), `repeat`.
"""


def _card(context: Context, facts: dict[str, Fact], taken: dict[Source, Taken]) -> File:
    refused = sum((found.seen for found in taken.values()), Counter[Verdict]())
    long, strange = refused[Verdict.TOO_LONG], refused[Verdict.NOT_ENCODABLE]
    path = context.scratch / "README.md"
    path.write_text(CARD.format(**facts, length=context.spec.training.sequence_length, long=long, strange=strange))
    return context.output.add_file("README.md", path)
