"""Mix the rehearsal set with the domain set and tokenise both: the training set, in its order, with a card.

Rows longer than `sequenceLength`, or that the template cannot carry, are refused and counted, never cut.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rehearsal.api.run import Dataset
from rehearsal.data.draw import shuffled
from rehearsal.data.formats import read_conversations
from rehearsal.data.mixture import MixturePlan, Source, mixed, plan_mixture
from rehearsal.prompts.model import ChatModel
from rehearsal.prompts.template import Message, UnencodableError
from rehearsal.worker.context import Context, Outcome
from rehearsal.worker.inputs import as_messages, bring_input
from rehearsal.worker.models import fetch_tokenizer

Messages = list[Message]
Row = dict[str, Any]


def run(context: Context) -> Outcome:
    """Seal rows `{"id", "source", "ids", "spans"}` in training order; spans are half-open and carry the loss."""
    if sealed := context.output.manifest():
        return Outcome(sealed)
    tokenizer = fetch_tokenizer(context, "tokenizer")
    refused: Counter[str] = Counter()
    domain = list(_fitting(context, Source.DOMAIN, _domain(context), tokenizer, refused))
    rehearsal = list(_fitting(context, Source.REHEARSAL, _rehearsal(context), tokenizer, refused))
    plan = plan_mixture(len(rehearsal) if _rehearses(context) else None, len(domain), context.spec.mixture)
    rows = [
        (rehearsal if pick.source is Source.REHEARSAL else domain)[pick.index] | {"repeat": pick.repeat}
        for pick in mixed(plan, f"{context.spec.seed}/{context.spec.rerun}")
    ]
    shards = context.commit_rows(rows, refused)
    facts = _facts(plan, rows)
    path = context.scratch / "README.md"
    path.write_text(CARD.format(**facts, length=context.spec.training.sequence_length, refused=refused.total()))
    return Outcome(context.output.seal(shards, files=[context.output.add_file("README.md", path)], facts=facts))


def _rehearses(context: Context) -> bool:
    return "rehearsal" in context.stage.inputs or "rehearsal" in context.stage.external


def _domain(context: Context) -> Iterator[tuple[str, Messages]]:
    uri, _ = context.external("domain")
    path = bring_input(context, "domain")
    for conversation in read_conversations(path, context.spec.domain.format, uri):
        yield f"d{conversation.line:07d}", as_messages(conversation.messages)


def _rehearsal(context: Context) -> Iterator[tuple[str, Messages]]:
    if context.spec.reconstructed:
        for row in context.input("rehearsal").rows():
            yield row["id"], [Message("user", row["instruction"]), Message("assistant", row["answer"])]
    elif dataset := context.spec.rehearsal.dataset:
        rows = _dataset(context, dataset)
        drawn = frozenset(shuffled(sum(1 for _ in rows()), context.spec.seed, "dataset")[: dataset.count])
        yield from (row for index, row in enumerate(rows()) if index in drawn)


def _dataset(context: Context, dataset: Dataset) -> Callable[[], Iterator[tuple[str, Messages]]]:
    """Return a reader of a ready data set, of which there may be more than memory holds."""
    if dataset.preset:
        fetched = context.input("rehearsal")
        return lambda: ((row["id"], as_messages(row["messages"])) for row in fetched.rows())
    uri, _ = context.external("rehearsal")
    path = bring_input(context, "dataset")
    return lambda: ((f"r{row.line:07d}", as_messages(row.messages)) for row in read_conversations(path, dataset.format, uri))


def _fitting(
    context: Context, source: Source, rows: Iterator[tuple[str, Messages]], tokenizer: ChatModel, refused: Counter[str]
) -> Iterator[Row]:
    longest = context.spec.training.sequence_length
    for name, messages in rows:
        try:
            sample = tokenizer.sample(messages)
        except UnencodableError:
            refused[f"{source}-not-encodable"] += 1
            continue
        if len(sample.ids) > longest:
            refused[f"{source}-too-long"] += 1
            continue
        yield {"id": name, "source": str(source), "ids": list(sample.ids), "spans": [list(span) for span in sample.spans]}


def _facts(plan: MixturePlan, rows: Sequence[Row]) -> dict[str, str | int | float]:
    return {
        "rehearsalRows": plan.rehearsal,
        "domainRows": plan.domain,
        "domainFraction": round(plan.domain_fraction, 4),
        "domainRepeats": round(plan.domain_repeats, 2),
        "tokens": sum(len(row["ids"]) for row in rows),
        "trainedTokens": sum(end - start for row in rows for start, end in row["spans"]),
    }


CARD = """\
# Training set

{rehearsalRows:,} rehearsal rows and {domainRows:,} domain rows ({domainFraction:.2%} of the mix), {tokens:,} tokens, of which
{trainedTokens:,} carry the loss: the assistant's turns. Rows over {length:,} tokens were refused: {refused:,}.

Rows are in training order: `id`, `source`, `ids` (tokens), `spans` (half-open ranges of `ids` that carry the loss), `repeat`.
"""
