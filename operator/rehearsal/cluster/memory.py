"""The objects of a mirror: the newest known version of each, packed, and found by owner or label without a search.

Versions of one kind are whole numbers that grow with every write, of whichever object (Kubernetes says so since 1.35). So news
that arrives late, twice or out of order is told by its number, also of objects that are gone:
* a dropped UID is remembered with its last version, until the next listing;
* a listing is at least as new as everything that was known when it began. That version is a floor: an unknown object that is
  no newer was left out by the listing, and stays out.
"""

import sys
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from rehearsal.cluster.port import Manifest, Manifests
from rehearsal.cluster.slim import pack, slim, unpack

RUN = "ReconstructionRun"
Key = tuple[str, str]
"""Namespace and name."""

_RUN_UID = "rehearsal.dev/run-uid"
_INDEXED = {"Job": (_RUN_UID, "rehearsal.dev/fingerprint"), "Pod": (_RUN_UID,)}


class _Entry(NamedTuple):
    """`terms`: what the object is found by, its run's UID first."""

    uid: str
    version: int
    terms: tuple[str, ...]
    packed: bytes


class _Gone(NamedTuple):
    namespace: str
    version: int


class Memory:
    """Objects of some kinds. What is returned is the caller's own copy; what changes something returns the run that it is about."""

    def __init__(self, kinds: Iterable[str]) -> None:
        self._kinds = {kind: _Kind() for kind in kinds}

    def __contains__(self, kind: str) -> bool:
        return kind in self._kinds

    def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """Return the object, or None."""
        entry = self._kinds[kind].entries.get((namespace, name))
        return unpack(entry.packed) if entry else None

    def version(self, kind: str, key: Key) -> int:
        """Return the version that is known of an object, 0 of an unknown one."""
        entry = self._kinds[kind].entries.get(key)
        return entry.version if entry else 0

    def select(self, kind: str, namespace: str | None, labels: Mapping[str, str]) -> Manifests:
        """Return the objects with these labels, oldest first; where one of them is indexed, by looking at no others."""
        terms = [labels[label] for label in _INDEXED.get(kind, ()) if label in labels]
        found = self._found(kind, namespace, terms[0] if terms else None)
        return _oldest_first(item for item in found if labels.items() <= (item["metadata"].get("labels") or {}).items())

    def owned(self, kind: str, namespace: str, uid: str) -> Manifests:
        """Return the objects that the object of that UID owns, oldest first."""
        return _oldest_first(item for item in self._found(kind, namespace, uid) if uid in _owners(item))

    def put(self, item: Manifest, listed: bool = False) -> Key | None:
        """Take in a version of an object, unless it is no news. `listed`: it comes from the listing that is under way."""
        metadata, kind = item["metadata"], self._kinds[item["kind"]]
        key, version, uid = _key(metadata), int(metadata["resourceVersion"]), sys.intern(metadata["uid"])
        kind.highest = max(kind.highest, version)
        present = kind.entries.get(key)
        if present and version <= present.version:
            return None
        unknown = present is None or present.uid != uid
        if unknown and version <= max(kind.last(uid), 0 if listed else kind.floor(key[0])):
            return None
        if present:
            self._remove(item["kind"], key, remember=unknown)
        item = slim(item)
        kind.add(key, _Entry(uid, version, _terms(item), pack(item)))
        if not listed:
            kind.fresh.add(key)
        return self._run_of(item["kind"], key)

    def drop(self, item: Manifest) -> Key | None:
        """Forget an object of which this is the last version."""
        metadata, kind = item["metadata"], self._kinds[item["kind"]]
        version = int(metadata["resourceVersion"])
        kind.highest = max(kind.highest, version)
        run = self.forget(item["kind"], metadata["namespace"], metadata["name"], metadata["uid"])
        kind.gone[metadata["uid"]] = _Gone(metadata["namespace"], max(version, kind.last(metadata["uid"])))
        return run

    def forget(self, kind: str, namespace: str, name: str, uid: str) -> Key | None:
        """Forget the object of that UID, in every version up to the one that is known."""
        present = self._kinds[kind].entries.get((namespace, name))
        if present is None or present.uid != uid:
            return None
        run = self._run_of(kind, (namespace, name))
        self._remove(kind, (namespace, name), remember=True)
        return run

    def begin(self, kind: str) -> int:
        """A listing of that kind begins. Returns what `settle` wants to know."""
        self._kinds[kind].fresh.clear()
        return self._kinds[kind].highest

    def settle(self, kind: str, namespace: str | None, listed: set[Key], began: int) -> set[Key]:
        """The listing of a namespace (None: of all) has ended: what it left out is gone, unless it came after. Returns the runs."""
        mine = self._kinds[kind]
        left_out = [key for key in mine.entries if namespace in (None, key[0]) and key not in listed]
        missing = [key for key in left_out if key not in mine.fresh or mine.entries[key].version <= began]
        runs = {run for key in missing if (run := self._run_of(kind, key))}
        for key in missing:
            self._remove(kind, key, remember=False)
        mine.floors[namespace] = began
        mine.gone = {
            uid: gone for uid, gone in mine.gone.items() if gone.version > began or namespace not in (None, gone.namespace)
        }
        return runs

    def _found(self, kind: str, namespace: str | None, term: str | None) -> Manifests:
        mine = self._kinds[kind]
        keys = mine.entries if term is None else mine.index.get(term, ())
        return [unpack(mine.entries[key].packed) for key in keys if namespace in (None, key[0])]

    def _run_of(self, kind: str, key: Key) -> Key | None:
        if kind == RUN:
            return key
        terms = self._kinds[kind].entries[key].terms
        return next(iter(self._kinds[RUN].index.get(terms[0], ())), None)

    def _remove(self, kind: str, key: Key, remember: bool) -> None:
        mine = self._kinds[kind]
        entry = mine.remove(key)
        if remember:
            mine.gone[entry.uid] = _Gone(key[0], entry.version)


class _Kind:
    """The objects of one kind. `fresh`: what came by itself since the last listing began; `highest`: the newest version heard of."""

    def __init__(self) -> None:
        self.entries: dict[Key, _Entry] = {}
        self.index: dict[str, tuple[Key, ...]] = {}
        self.gone: dict[str, _Gone] = {}
        self.floors: dict[str | None, int] = {}
        self.fresh: set[Key] = set()
        self.highest = 0

    def floor(self, namespace: str) -> int:
        """The version up to which an unknown object of that namespace is known not to be there."""
        return max(self.floors.get(None, 0), self.floors.get(namespace, 0))

    def last(self, uid: str) -> int:
        """The last version of a UID that is gone; 0 when nothing is known of it."""
        return self.gone[uid].version if uid in self.gone else 0

    def add(self, key: Key, entry: _Entry) -> None:
        self.entries[key] = entry
        for term in filter(None, entry.terms):
            self.index[term] = (*self.index.get(term, ()), key)

    def remove(self, key: Key) -> _Entry:
        entry = self.entries.pop(key)
        self.fresh.discard(key)
        for term in filter(None, entry.terms):
            rest = tuple(other for other in self.index[term] if other != key)
            if rest:
                self.index[term] = rest
            else:
                del self.index[term]
        return entry


def _terms(item: Manifest) -> tuple[str, ...]:
    metadata = item["metadata"]
    if item["kind"] == RUN:
        return (sys.intern(metadata["uid"]),)
    labels = metadata.get("labels") or {}
    terms = [labels.get(label, "") for label in _INDEXED[item["kind"]]]
    owners = _owners(item) if item["kind"] == "Pod" else ()
    return tuple(sys.intern(term) for term in (*terms, *owners))


def _owners(item: Manifest) -> list[str]:
    return [owner["uid"] for owner in item["metadata"].get("ownerReferences") or ()]


def _key(metadata: Mapping[str, str]) -> Key:
    return sys.intern(metadata["namespace"]), metadata["name"]


def _oldest_first(items: Iterable[Manifest]) -> Manifests:
    return sorted(items, key=lambda item: (item["metadata"]["creationTimestamp"], item["metadata"]["name"]))
