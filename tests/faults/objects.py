"""The objects of an in-memory cluster, by the API server's rules for names, versions, UIDs and owners.

A stored object is never changed in place, only replaced: so a shallow copy of the dictionary is the past, kept whole.
"""

import json
import marshal
from collections.abc import Callable, Mapping

from rehearsal.cluster.port import API_VERSIONS, AlreadyExists, Conflict, Invalid, Manifest, Manifests, NotFound

Key = tuple[str, str, str]
"""Kind, namespace, name."""


class View:
    """Objects as they were at one moment. What is returned is the caller's own copy."""

    def __init__(self, items: Mapping[Key, Manifest]) -> None:
        self.items = items

    def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        found = self.items.get((kind, namespace, name))
        return None if found is None else copied(found)

    def list(self, kind: str, namespace: str | None = None, labels: Mapping[str, str] | None = None) -> Manifests:
        wanted = (labels or {}).items()
        return [
            copied(item)
            for (its_kind, its_namespace, _), item in self.items.items()
            if its_kind == kind and namespace in (None, its_namespace) and wanted <= (item["metadata"].get("labels") or {}).items()
        ]

    def each(self, kind: str) -> Manifests:
        """The objects of a kind themselves, for those who replace and never change them."""
        return [item for (its_kind, _, _), item in self.items.items() if its_kind == kind]

    def owned(self, kind: str, namespace: str, uid: str) -> Manifests:
        return [copied(item) for item in self.items.values() if _is(item, kind, namespace) and uid in owners(item)]

    def about(self, namespace: str, uid: str) -> Manifests:
        """The events about an object."""
        events = (item for item in self.items.values() if _is(item, "Event", namespace))
        return [copied(event) for event in events if event.get("involvedObject", {}).get("uid") == uid]


class Objects(View):
    """The present objects. Versions and UIDs are counted, so that the same story told twice is the same to the letter."""

    def __init__(self, stamp: Callable[[], str]) -> None:
        self._stamp, self._version, self._uids = stamp, 0, 0
        self.items: dict[Key, Manifest] = {}

    def snapshot(self) -> View:
        return View(dict(self.items))

    def fork(self, stamp: Callable[[], str]) -> "Objects":
        """A copy that goes its own way from here."""
        twin = Objects(stamp)
        twin.items, twin._version, twin._uids = dict(self.items), self._version, self._uids
        return twin

    def create(self, manifest: Manifest) -> Manifest:
        item: Manifest = json.loads(json.dumps(manifest))
        if item.get("apiVersion") != API_VERSIONS.get(item.get("kind", "")):
            raise Invalid(f"kind: {item.get('apiVersion')} {item.get('kind')} is not known to this cluster")
        item["metadata"].setdefault("namespace", "default")
        if key_of(item) in self.items:
            raise AlreadyExists("{} {}/{} exists".format(*key_of(item)))
        self._uids += 1
        item["metadata"] |= {"uid": f"uid-{self._uids:06}", "creationTimestamp": self._stamp(), "generation": 1}
        return self._store(item)

    def replace(self, item: Manifest) -> Manifest:
        """Store another version; NotFound and Conflict as the API server has them. A write that changes nothing makes no version."""
        present = self.items.get(key_of(item))
        if present is None:
            raise NotFound("{} {}/{} does not exist".format(*key_of(item)))
        if item["metadata"]["resourceVersion"] != present["metadata"]["resourceVersion"]:
            raise Conflict("{} {}/{} has changed since it was read".format(*key_of(item)))
        return copied(present) if item == present else self._store(copied(item))

    def mark(self, item: Manifest) -> None:
        """Ask a pod to end: whoever runs it removes it."""
        present = self.items[key_of(item)]
        if "deletionTimestamp" not in present["metadata"]:
            self._store(copied(present) | {"metadata": present["metadata"] | {"deletionTimestamp": self._stamp()}})

    def remove(self, item: Manifest) -> None:
        self.items.pop(key_of(item), None)

    def collect_garbage(self) -> None:
        """Delete what is owned by objects that are no more, and what that owned in turn."""
        while orphans := self._orphans():
            for orphan in orphans:
                if orphan["kind"] == "Pod":
                    self.mark(orphan)
                else:
                    self.remove(orphan)

    def _orphans(self) -> Manifests:
        alive = {item["metadata"]["uid"] for item in self.items.values()}
        orphans = [item for item in self.items.values() if owners(item) and not owners(item) & alive]
        return [item for item in orphans if item["kind"] != "Pod" or "deletionTimestamp" not in item["metadata"]]

    def _store(self, item: Manifest) -> Manifest:
        self._version += 1
        item["metadata"]["resourceVersion"] = str(self._version)
        self.items[key_of(item)] = item
        return copied(item)


def key_of(item: Manifest) -> Key:
    return item["kind"], item["metadata"]["namespace"], item["metadata"]["name"]


def owners(item: Manifest) -> set[str]:
    return {owner["uid"] for owner in item["metadata"].get("ownerReferences") or ()}


def copied(item: Manifest) -> Manifest:
    """A copy of plain JSON; many times faster than `copy.deepcopy`, and copies are most of what these tests do."""
    made: Manifest = marshal.loads(marshal.dumps(item))  # noqa: S302 - our own dump
    return made


def merged(present: object, patch: object) -> Manifest:
    """RFC 7396: what is null goes, objects are merged, everything else is replaced."""
    result = dict(present) if isinstance(present, dict) else {}
    for key, value in patch.items() if isinstance(patch, dict) else ():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value) if isinstance(value, dict) else value
    return result


def _is(item: Manifest, kind: str, namespace: str) -> bool:
    return item["kind"] == kind and item["metadata"]["namespace"] == namespace
