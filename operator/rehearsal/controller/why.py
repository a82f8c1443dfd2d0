"""Why something is as it is: one CamelCase word and one sentence, as a condition has them; and what a failed call comes to. Pure."""

from typing import NamedTuple

from rehearsal.cluster.port import AlreadyExists, ClusterError, Conflict, Forbidden, Invalid, Unavailable


class Why(NamedTuple):
    """A condition's reason and message."""

    reason: str
    message: str


class NameTaken(AlreadyExists):
    """Somebody else's object has the name: it is neither touched nor adopted."""


_KINDS = (NameTaken, Conflict, Forbidden, Invalid, Unavailable, ClusterError)
_NAMES = (*(kind.__name__ for kind in _KINDS), "Timeout", "Bug")
NEEDS_SOMEBODY = ("NameTaken", "Forbidden", "Invalid")
"""Answers that stay the same until somebody changes something."""


def kind_of(error: Exception) -> str:
    """Return the name under which an error is counted and told."""
    for kind in _KINDS:
        if isinstance(error, kind):
            return kind.__name__
    return "Timeout" if isinstance(error, TimeoutError) else "Bug"


def why_of(error: Exception) -> Why:
    """Return what a run says of a call that failed: the API server's own words, where it has any."""
    kind = kind_of(error)
    match kind:
        case "NameTaken":
            words = str(error)
        case "Forbidden":
            words = f"the operator {error}"
        case "Invalid":
            words = f"the API server refuses: {error}"
        case "Timeout":
            words = "a look at this run takes too long: some call to the API server hangs"
        case "Bug":
            words = f"the operator met an error of its own, {type(error).__name__}: {error}; its log has the details"
        case _:
            words = f"a call to the API server fails: {error}"
    return Why(kind, words[:1024])


def is_trouble(reason: str) -> bool:
    """Return whether a condition's reason is that of a call that failed."""
    return reason in _NAMES
