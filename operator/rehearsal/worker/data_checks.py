"""Whether there is enough data for the mix, and room for it: read row by row before an engine starts.

Not covered: public sets, which are read by the stage that fetches them and counted by mix.
"""

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

from rehearsal.api.messages import Refused
from rehearsal.api.run import RunSpec
from rehearsal.data.fitting import Verdict
from rehearsal.data.mixture import Unknown, check_mixture
from rehearsal.pipeline.external import key_of
from rehearsal.pipeline.sources import external_inputs
from rehearsal.prompts.model import ChatModel
from rehearsal.store.objects import NotFound
from rehearsal.worker.context import Context
from rehearsal.worker.mix_size import MixSize
from rehearsal.worker.sets import Conversations, Row, Unfit, dataset_file, domain_set, draw, measured, wanted

Facts = dict[str, str | int | float]


@dataclass(frozen=True)
class Looked:
    """What was found of a set: its rows, the verdicts on those looked at, the tokens of those that fit."""

    rows: int
    seen: Counter[Verdict]
    tokens: int


def check_files_fit(context: Context) -> None:
    """Refuse data files that are larger than a pod's scratch before one is brought there."""
    MixSize(files=_file_bytes(context)).check(context.task.scratch, context.task.cpu_memory)


def check_data(context: Context, model: ChatModel | None) -> Facts:
    """Read the data sets row by row, and see that there is enough of them for the mix; return the figures.

    Without a tokenizer, whose model is not in the store yet, rows are read and not measured: all count as fitting, which
    leaves the size of a rehearsal set without `count` unknown.
    """
    spec = context.spec
    domain = _look(context, domain_set(context), model, strict=True)
    looked = None
    if (dataset := spec.rehearsal.dataset) and dataset.uri:
        looked = _look(context, dataset_file(context, dataset), model, strict=False)
    rehearsal = _size(spec, looked if model else None)
    mixed = check_mixture(rehearsal, domain.seen[Verdict.FIT], spec.mixture)
    _check_room(context, domain, looked, rehearsal, mixed)
    facts: Facts = {"domainRows": domain.seen[Verdict.FIT], "domainTooLong": domain.seen[Verdict.TOO_LONG]}
    if looked:
        facts |= {
            "rehearsalRead": looked.seen.total(),
            "rehearsalTooLong": looked.seen[Verdict.TOO_LONG],
            "rehearsalNotEncodable": looked.seen[Verdict.NOT_ENCODABLE],
        }
    return facts | {"rehearsalRows": _told(rehearsal), "mixRows": _told(mixed)}


def _told(rows: int | Unknown | None) -> int | str:
    return rows.value if isinstance(rows, Unknown) else rows or 0


def _size(spec: RunSpec, looked: Looked | None) -> int | Unknown | None:
    """Return how many rehearsal rows there will be: those promised, those that were found to fit, or None in a control."""
    if not (spec.reconstructed or spec.rehearsal.dataset):
        return None
    if count := wanted(spec):
        return count
    return looked.seen[Verdict.FIT] if looked else Unknown.SIZE


def _look(context: Context, given: Conversations, model: ChatModel | None, strict: bool) -> Looked:
    """Look at a set's rows as mix does. `strict`: one that the chat template cannot carry is refused by line, not counted."""
    tokens = 0

    def look(index: int, row: Row) -> Verdict:
        nonlocal tokens
        if model is None:
            return Verdict.FIT
        found = measured(model, row[1], context.spec.training.sequence_length)
        if not isinstance(found, Unfit):
            tokens += len(found.ids)
            return Verdict.FIT
        if strict and found.verdict is Verdict.NOT_ENCODABLE:
            raise Refused(f"{given.name}, line {index + 1}: {found.why}", "BadData")
        return found.verdict

    return Looked(given.rows, draw(context, given, look).seen, tokens)


def _check_room(
    context: Context, domain: Looked, looked: Looked | None, rehearsal: int | Unknown | None, mixed: int | Unknown
) -> None:
    """Refuse a mix that its pod cannot hold. Rows that nobody has measured are taken at their longest."""
    longest = context.spec.training.sequence_length
    unread = rehearsal if isinstance(rehearsal, int) and not looked else 0
    sets = [domain, looked] if looked else [domain]
    MixSize(
        files=_file_bytes(context),
        rows=sum(each.rows for each in sets) + unread,
        mixed=mixed if isinstance(mixed, int) else 0,
        tokens=sum(each.tokens for each in sets) + unread * longest,
        longest=longest,
    ).check(context.task.scratch, context.task.cpu_memory)


def _file_bytes(context: Context) -> int:
    """Return the size of the run's data files. One that is not there is refused by whoever brings it."""
    total = 0
    for name, uri in external_inputs(context.spec).items():
        if name in ("domain", "dataset", "categories"):
            with suppress(NotFound):
                total += context.objects.stat(key_of(uri)).size
    return total
