"""How the rows of a sampled stage are divided into shards: one answer for whoever fills them, seals them or looks how far they are.

The first worker of a stage records the size beside its shards. Who goes on later, be it of another release, keeps to it.
"""

from pydantic import Field

from rehearsal.api.messages import CorruptInput
from rehearsal.pipeline.stage import rows_per_shard
from rehearsal.store.commit import Artifact
from rehearsal.store.manifest import Record, read


class Sharding(Record):
    """The shards of a stage of so many rows; the last one may be short."""

    rows: int = Field(ge=0)
    per_shard: int = Field(ge=1)

    @property
    def shards(self) -> int:
        """Shards in all."""
        return -(-self.rows // self.per_shard)

    def span(self, shard: int) -> range:
        """Return the indexes of a shard's rows."""
        return range(shard * self.per_shard, min(self.rows, (shard + 1) * self.per_shard))


def sharding_of(output: Artifact, rows: int) -> Sharding:
    """Return the sharding that the stage's first worker recorded: this one's, if it is the first."""
    recorded = output.settle("sharding.json", Sharding(rows=rows, per_shard=rows_per_shard(rows)).stored)
    where = f"{output.layout.prefix}/sharding.json"
    try:
        found = read(Sharding, recorded)
    except ValueError as error:
        raise CorruptInput(f"{output.stage}: {where} cannot be read ({error}); {_REMEDY}", "ShardingUnreadable") from error
    if found.rows != rows:
        raise CorruptInput(f"{output.stage}: {where} is for {found.rows} rows, the stage has {rows}; {_REMEDY}", "ShardingDiffers")
    return found


_REMEDY = "remove that folder from the store and run again"
