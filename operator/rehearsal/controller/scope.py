"""The namespaces where runs are looked for: all of them are listed anew by a sweep, and one that may not be read holds no other up."""

import logging
from collections.abc import Awaitable, Callable, Sequence

from rehearsal.cluster.port import Forbidden
from rehearsal.controller.metrics import Metrics
from rehearsal.controller.queue import Key

log = logging.getLogger(__name__)


class Scope:
    """Namespaces (none named: all) and how one is listed, which returns the runs whose world changed."""

    def __init__(self, namespaces: Sequence[str], refresh: Callable[[str | None], Awaitable[set[Key]]], metrics: Metrics) -> None:
        self._namespaces: Sequence[str | None] = namespaces or (None,)
        self._refresh, self._metrics = refresh, metrics
        self._refused: dict[str | None, str] = {}

    async def refresh(self) -> set[Key]:
        """List every namespace; raise Forbidden when none of them may be read, and whatever else goes wrong."""
        changed: set[Key] = set()
        refused: dict[str | None, str] = {}
        for namespace in self._namespaces:
            try:
                changed |= await self._refresh(namespace)
            except Forbidden as error:
                if len(refused) + 1 == len(self._namespaces):
                    raise
                refused[namespace] = str(error)
                self._metrics.error("Forbidden")
        for namespace in refused.keys() - self._refused.keys():
            log.error("runs in %s are not seen: the operator %s", namespace, refused[namespace])
        self._refused = refused
        return changed
