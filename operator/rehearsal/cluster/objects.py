"""The objects of a local cluster: JSON files under one folder, with the API server's rules for versions, UIDs and owners.

One process owns the folder, so memory is the truth and files follow. A kill loses nothing; a power cut may lose the last writes.
"""

import asyncio
import copy
import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path

from rehearsal.cluster.port import API_VERSIONS, AlreadyExists, Conflict, Invalid, Manifest, Manifests, NotFound, Unavailable
from rehearsal.cluster.stamps import now, stamp
from rehearsal.outside.json_text import read_own_json

Key = tuple[str, str, str]
"""Kind, namespace, name."""


class Objects:
    """Every object, by kind, namespace and name. What is returned is a copy. `changed` is set whenever something did."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._all: dict[Key, Manifest] = {}
        self.changed = asyncio.Event()
        loaded = sorted((_read(path) for path in folder.glob("*/*/*.json")), key=_age)
        self._version = max((int(item["metadata"]["resourceVersion"]) for item in loaded), default=0)
        self._all = {key_of(item): item for item in loaded}

    def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """Return the object, or None."""
        return copy.deepcopy(self._all.get((kind, namespace, name)))

    def list(self, kind: str, namespace: str | None = None, labels: Mapping[str, str] | None = None) -> Manifests:
        """Return the objects of that kind, in that namespace, with these labels, oldest first."""
        return [
            copy.deepcopy(item)
            for (its_kind, its_namespace, _), item in self._all.items()
            if its_kind == kind
            and namespace in (None, its_namespace)
            and (labels or {}).items() <= item["metadata"].get("labels", {}).items()
        ]

    def owned(self, kind: str, namespace: str, uid: str) -> Manifests:
        """Return the objects of that kind that the object of that UID owns."""
        return [item for item in self.list(kind, namespace) if uid in _owners(item)]

    def create(self, manifest: Manifest) -> Manifest:
        """Store a new object, with what the server adds to it, or raise AlreadyExists or Invalid."""
        item = copy.deepcopy(manifest)
        if item.get("apiVersion") != API_VERSIONS.get(item.get("kind", "")):
            raise Invalid(f"kind: {item.get('apiVersion')} {item.get('kind')} is not known to this cluster")
        metadata = item["metadata"]
        metadata.setdefault("namespace", "default")
        if key_of(item) in self._all:
            raise AlreadyExists(f"{item['kind']} {metadata['namespace']}/{metadata['name']} exists")
        metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": stamp(now()), "generation": 1}
        return self._store(item)

    def replace(self, item: Manifest) -> Manifest:
        """Store another version of an object, unless nothing changed. Raises NotFound, and Conflict on a stale resourceVersion."""
        present = self._all.get(key_of(item))
        if present is None:
            raise NotFound(_words(item))
        if item["metadata"]["resourceVersion"] != present["metadata"]["resourceVersion"]:
            raise Conflict(f"{_words(item)} has changed since it was read")
        return copy.deepcopy(present) if item == present else self._store(copy.deepcopy(item))

    def delete(self, item: Manifest) -> None:
        """Remove an object. A pod is only marked: whoever runs it removes it when its processes are gone."""
        if item["kind"] == "Pod":
            if "deletionTimestamp" not in item["metadata"]:
                item["metadata"]["deletionTimestamp"] = stamp(now())
                self.replace(item)
        else:
            self.remove(item)

    def remove(self, item: Manifest) -> None:
        """Forget an object."""
        if self._all.pop(key_of(item), None) is not None:
            self._path(item).unlink(missing_ok=True)
            self.changed.set()

    def collect_garbage(self) -> None:
        """Delete what is owned by objects that are no more. What that owned in turn goes the next time."""
        alive = {item["metadata"]["uid"] for item in self._all.values()}
        for item in list(self._all.values()):
            owners = _owners(item)
            if owners and not owners & alive:
                self.delete(copy.deepcopy(item))

    def _store(self, item: Manifest) -> Manifest:
        """Takes the item over. Memory first: a full disk must not make this process forget what it runs."""
        self._version += 1
        item["metadata"]["resourceVersion"] = str(self._version)
        self._all[key_of(item)] = item
        self.changed.set()
        path = self._path(item)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_suffix(".new")
            draft.write_text(json.dumps(item, indent=1))
            os.replace(draft, path)  # noqa: PTH105 - as it says
        except OSError as error:
            raise Unavailable(f"{path}: {error.strerror}") from error
        return copy.deepcopy(item)

    def _path(self, item: Manifest) -> Path:
        return _path(self._folder, *key_of(item))


def key_of(item: Manifest) -> Key:
    """Return what names an object among all."""
    return item["kind"], item["metadata"]["namespace"], item["metadata"]["name"]


def read(folder: Path, kind: str, namespace: str, name: str) -> Manifest | None:
    """Return an object as its file has it, without a claim to the folder; None when there is none."""
    path = _path(folder, kind, namespace, name)
    return _read(path) if path.exists() else None


def _path(folder: Path, kind: str, namespace: str, name: str) -> Path:
    return folder / f"{kind.lower()}s" / namespace / f"{name}.json"


def _owners(item: Manifest) -> set[str]:
    return {owner["uid"] for owner in item["metadata"].get("ownerReferences", ())}


def _words(item: Manifest) -> str:
    return "{} {}/{}".format(*key_of(item))


def _age(item: Manifest) -> tuple[str, int]:
    return item["metadata"]["creationTimestamp"], int(item["metadata"]["resourceVersion"])


def _read(path: Path) -> Manifest:
    try:
        item: Manifest = read_own_json(path.read_bytes())
        key_of(item)
        _age(item)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise Unavailable(f"{path} cannot be read; remove it, what it told is found again") from error
    return item
