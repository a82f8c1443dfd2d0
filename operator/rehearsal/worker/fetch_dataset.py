"""Bring a well-known data set from a hub into the store, as conversations. Rows that are none are refused and counted.

Files pass through scratch one at a time. The commit is settled by the first attempt, so that later ones go on with its rows.
"""

import shutil
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatchcase

from rehearsal.api.messages import Refused, TooManyRefused
from rehearsal.data.fitting import refuse_shortage
from rehearsal.data.presets import PRESETS, PublicSet, UnfitRow, conversation_of
from rehearsal.data.public_files import read_rows
from rehearsal.store.commit import Manifest
from rehearsal.worker.context import Context
from rehearsal.worker.hub import HubClient, HubFile, Repository

ROWS_PER_SHARD = 5000

Row = dict[str, object]


def fetch_dataset(context: Context, hub: HubClient) -> Manifest:
    """Seal rows `{"id", "messages"}` in the order of the repository's files; facts say where they are from."""
    chosen = context.spec.rehearsal.dataset
    if chosen is None or chosen.preset is None:
        raise Refused(f"{context.stage.name} knows no data set: use images of the same release", "ReleaseMismatch")
    public = PRESETS[chosen.preset]
    repository = hub.look("dataset", public.repository, _commit(context, hub, public, chosen.revision))
    files = [file for file in repository.files if any(fnmatchcase(file.path, kind) for kind in public.files)]
    if not files:
        raise Refused(f"{repository}: holds none of {', '.join(public.files)}; name an older `revision`", "HubMissing")
    refused: Counter[str] = Counter()
    rows = _rows(context, hub, repository, public, sorted(files, key=lambda file: file.path), refused)
    shards = context.commit_rows(rows, refused, ROWS_PER_SHARD)
    accepted = sum(commit.rows for commit in context.output.commits(shards).values())
    if refused.total() > accepted:
        raise TooManyRefused(
            f"{repository}: {refused.total():,} of {refused.total() + accepted:,} rows are no conversations "
            f"({', '.join(f'{reason} {count:,}' for reason, count in sorted(refused.items()))}): name an older `revision`"
        )
    if not accepted:
        raise Refused(f"{repository}: its files hold no rows: name an older `revision`", "NothingToTrain")
    if chosen.count:
        refuse_shortage("spec.rehearsal.dataset.count", chosen.count, str(repository), accepted)
    facts = {"repository": repository.name, "revision": repository.commit, "license": repository.license}
    return context.output.seal(shards, facts=facts)


def _commit(context: Context, hub: HubClient, public: PublicSet, revision: str | None) -> str:
    """Return the commit to take: the one asked for, or the newest when the first attempt looked."""
    if revision:
        return revision
    key = f"{context.output.layout.prefix}/newest.txt"
    context.objects.create(key, hub.look("dataset", public.repository, None).commit.encode())
    return context.objects.get(key).decode()


def _rows(
    context: Context, hub: HubClient, repository: Repository, public: PublicSet, files: list[HubFile], refused: Counter[str]
) -> Iterator[Row]:
    number = done = 0
    for file in files:
        folder = context.scratch / "file"
        path = hub.download(repository, file, folder)
        for row in read_rows(path, public.columns, f"{repository}: {file.path}"):
            number += 1
            try:
                yield {"id": f"r{number:08d}", "messages": conversation_of(row, public)}
            except UnfitRow as unfit:
                refused[str(unfit)] += 1
        shutil.rmtree(folder)
        done += file.size
        context.progress(done, sum(each.size for each in files), "bytes")
