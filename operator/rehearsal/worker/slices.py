"""Parts of a sealed stage by row number, so that a worker holds the inputs of its own shards and no more."""

from collections.abc import Mapping
from itertools import accumulate, pairwise
from typing import Any

from rehearsal.api.messages import CorruptInput
from rehearsal.store.commit import Artifact


def rows_between(artifact: Artifact, start: int, stop: int) -> list[dict[str, Any]]:
    """Return the rows [start, stop) of a sealed output; CorruptInput where it has fewer."""
    found: list[dict[str, Any]] = []
    ends = accumulate((commit.rows for commit in artifact.sealed().shards), initial=0)
    for shard, (first, end) in enumerate(pairwise(ends)):
        if first < stop and start < end:
            rows = list(artifact.shard_rows(shard))
            found += rows[max(0, start - first) : stop - first]
    if len(found) != stop - start:
        raise CorruptInput(f"{artifact.stage} has no rows {start} to {stop - 1}", "RowsMissing", artifact.stage)
    return found


def same_ids(first: Mapping[str, Any], other: Mapping[str, Any], artifact: Artifact) -> Mapping[str, Any]:
    """Return the other row, which must be about the same instruction as the first."""
    if first["id"] != other["id"]:
        raise CorruptInput(f"{artifact.stage} has row {other['id']} where {first['id']} was expected", "RowsDiffer", artifact.stage)
    return other
