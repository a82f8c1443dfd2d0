"""The two sets of a run as conversations, row by row: preflight reads them for the arithmetic, mix for the rows."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rehearsal.api.run import DataFormat, Dataset, RunSpec
from rehearsal.data.fitting import Draw, Verdict, refuse_shortage
from rehearsal.data.formats import count_rows, read_conversations
from rehearsal.pipeline.sources import external_inputs
from rehearsal.prompts.masks import Sample
from rehearsal.prompts.model import ChatModel
from rehearsal.prompts.template import Message, UnencodableError
from rehearsal.worker.context import Context
from rehearsal.worker.inputs import as_messages, bring_input

Row = tuple[str, list[Message]]
"""A row's id in the mix, and its turns."""


@dataclass(frozen=True)
class Conversations:
    """A set of so many rows. `name` is what the user calls it; every `read` is a pass of its own, in the set's order.

    `wanted`: how many of them the mix is to have; all that fit when None.
    """

    name: str
    rows: int
    read: Callable[[], Iterator[Row]]
    wanted: int | None = None


@dataclass(frozen=True)
class Unfit:
    """A conversation that is not trained on, and why. The text does not quote it."""

    verdict: Verdict
    why: str


def domain_set(context: Context) -> Conversations:
    """Return the domain set."""
    return _in_file(context, "domain", context.spec.domain.format, "d")


def rehearsal_set(context: Context) -> Conversations | None:
    """Return the set that is rehearsed: chosen answers, a public set that a stage has brought, or a file; None in a control."""
    if context.spec.reconstructed:
        return _chosen_answers(context)
    if dataset := context.spec.rehearsal.dataset:
        return _public_set(context) if dataset.preset else dataset_file(context, dataset)
    return None


def dataset_file(context: Context, dataset: Dataset) -> Conversations:
    """Return the rehearsal set that the run names in the store."""
    return _in_file(context, "dataset", dataset.format, "r", wanted(context.spec))


def wanted(spec: RunSpec) -> int | None:
    """Return how many rehearsal conversations the mix is to have; None is all that fit."""
    if made := spec.reconstructed:
        return made.count
    return spec.rehearsal.dataset.count if spec.rehearsal.dataset else None


def draw(context: Context, given: Conversations, look: Callable[[int, Row], Verdict]) -> Draw:
    """Look at a set's rows until as many fit as are wanted, or raise TooFewRows with the arithmetic."""
    field = f"spec.rehearsal.{'reconstructed' if context.spec.reconstructed else 'dataset'}.count"
    if given.wanted:
        refuse_shortage(field, given.wanted, given.name, given.rows)
    drawn = Draw(given.rows, given.wanted or given.rows, context.spec.seed, "dataset")
    drawn.take(given.read, look)
    if given.wanted:
        refuse_shortage(field, given.wanted, given.name, given.rows, drawn.seen, context.spec.training.sequence_length)
    return drawn


def measured(model: ChatModel, messages: list[Message], longest: int) -> Sample | Unfit:
    """Return a conversation as it is trained on, or why it is not: it is never cut to `longest` tokens."""
    try:
        sample = model.sample(messages)
    except UnencodableError as error:
        return Unfit(Verdict.NOT_ENCODABLE, str(error))
    if len(sample.ids) > longest:
        return Unfit(Verdict.TOO_LONG, f"has {len(sample.ids):,} tokens")
    return sample


def _in_file(context: Context, name: str, layout: DataFormat, letter: str, count: int | None = None) -> Conversations:
    """A row's id is the letter and the number of its line."""
    path, uri = bring_input(context, name), external_inputs(context.spec)[name]

    def read() -> Iterator[Row]:
        for row in read_conversations(path, layout, uri):
            yield f"{letter}{row.line:07d}", as_messages(row.messages)

    return Conversations(uri, count_rows(path, uri), read, count)


def _public_set(context: Context) -> Conversations:
    artifact = context.input("rehearsal")

    def read() -> Iterator[Row]:
        return ((row["id"], as_messages(row["messages"])) for row in artifact.rows())

    return Conversations(f"the output of {artifact.stage}", artifact.sealed().rows, read, wanted(context.spec))


def _chosen_answers(context: Context) -> Conversations:
    artifact = context.input("rehearsal")

    def read() -> Iterator[Row]:
        for row in artifact.rows():
            yield row["id"], [Message("user", row["instruction"]), Message("assistant", row["answer"])]

    return Conversations(f"the output of {artifact.stage}", artifact.sealed().rows, read, wanted(context.spec))
