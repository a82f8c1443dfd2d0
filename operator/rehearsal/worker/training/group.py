"""The ranks of one attempt as a group: who speaks for a node, and what all nodes must agree on before any of them trains."""

import os
import secrets

from torch import distributed

from rehearsal.api.messages import DeviceUnusable


def is_first_of_node() -> bool:
    """Whether this rank is its node's first: it speaks to the node's parent and tidies the node's disk."""
    return os.environ["LOCAL_RANK"] == "0"


def agree(origin: str) -> str:
    """Return a name for this attempt, which is rank 0's choice and nobody else's ever.

    `origin` names the checkpoint that a rank is about to go on from. Nodes look for it each by itself, and one that was sealed
    between two looks would have them train different models: DeviceUnusable, so that the next attempt looks again.
    """
    said: list[tuple[str, str]] = [("", "")] * distributed.get_world_size()
    distributed.all_gather_object(said, (origin, secrets.token_hex(8)))
    if len({theirs for theirs, _ in said}) > 1:
        raise DeviceUnusable(
            "the nodes found different checkpoints to go on from; the next attempt looks again", "CheckpointsDiffer"
        )
    return said[0][1]
