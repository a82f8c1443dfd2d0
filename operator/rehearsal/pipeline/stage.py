"""What a stage is: its kind, what it reads, and the fields that its fingerprint is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from rehearsal.api.reconstruction import Endpoint
from rehearsal.api.serving import Serving

MAX_ROUNDS = 4
"""Rounds of elicitation before a run that stays short of whole conversations fails."""
ROWS_PER_SHARD = 500
"""The most rows that a shard holds: some minutes of a 70B model's work."""
SHARDS_PER_STAGE = 20
"""The fewest shards of a sampled stage, if it has as many rows: an interruption loses no more than a twentieth."""


class Kind(StrEnum):
    """The program that carries out a stage: `python -m rehearsal.worker <kind>`."""

    PREFLIGHT = "preflight"
    FETCH = "fetch"
    ELICIT = "elicit"
    FILTER = "filter"
    RESPOND = "respond"
    JUDGE = "judge"
    SELECT = "select"
    MIX = "mix"
    TRAIN = "train"
    EVALUATE = "evaluate"
    REPORT = "report"


VERSIONS: Mapping[Kind, int] = dict.fromkeys(Kind, 1) | dict.fromkeys(
    (Kind.ELICIT, Kind.FILTER, Kind.SELECT, Kind.MIX, Kind.REPORT), 2
)
"""Bumped by hand when a program's output changes meaning; enters the fingerprint."""

ENGINE_KINDS = frozenset({Kind.ELICIT, Kind.RESPOND, Kind.JUDGE, Kind.EVALUATE})
"""Stages that talk to a model: vLLM beside the client, or an endpoint of the platform."""


@dataclass(frozen=True)
class Stage:
    """One stage. `external` and `inputs` map a label (part of the fingerprint) to an external input or a stage.

    A stage that talks to a model has a `serving` (its pods run vLLM) or an `endpoint` (the platform's service answers). `round`: the
    round of elicitation that it belongs to; what belongs to none has 1. `nodes`: pods that carry it out together, and fail together.
    """

    name: str
    kind: Kind
    fields: Mapping[str, object] = field(default_factory=dict)
    external: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    subject: str | None = None
    serving: Serving | None = None
    endpoint: Endpoint | None = None
    round: int = 1
    nodes: int = 1

    @property
    def replicas(self) -> int:
        """Worker slots; nodes that train together are a slot each."""
        return self.serving.replicas if self.serving and self.kind is not Kind.EVALUATE else self.nodes


def rows_per_shard(rows: int) -> int:
    """Return how many rows a shard of a sampled stage holds: at most 500 and at most a twentieth, at least one."""
    return max(1, min(ROWS_PER_SHARD, rows // SHARDS_PER_STAGE))
