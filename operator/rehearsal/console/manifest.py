"""Reading a manifest and a platform file: every problem is told with file, line and field, before anything starts."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rehearsal.api.explain import explain, problems
from rehearsal.api.messages import Refused
from rehearsal.api.platform import Platform
from rehearsal.api.run import RunSpec
from rehearsal.controller.hold import missing
from rehearsal.outside.text import shown
from rehearsal.outside.unreadable import Unreadable
from rehearsal.outside.yaml_text import Document, read_document

API_VERSION, KIND = "rehearsal.dev/v1alpha1", "ReconstructionRun"
TOP = ("apiVersion", "kind", "metadata", "spec")
METADATA = ("name", "namespace", "labels", "annotations")
MOST_TOLD = 50
"""Problems of one file: more than these is a file of another kind."""


def read_manifest(path: Path) -> tuple[dict[str, Any], RunSpec]:
    """Return the manifest (with a namespace) and its spec; raises Refused with one line a problem."""
    manifest, document = _load(path)
    found = [*_envelope(manifest)]
    spec: RunSpec | None = None
    if not found:
        spec, found = problems(manifest["spec"])
    if found or spec is None:
        raise Refused(_told(path, document, found), "BadManifest")
    manifest["metadata"].setdefault("namespace", "default")
    return manifest, spec


def read_for_one_machine(path: Path) -> dict[str, Any]:
    """Return the manifest, or raise Refused where it asks for what processes on one machine do not have."""
    manifest, spec = read_manifest(path)
    asked: dict[str, object] = {"spec.queueName": spec.queue_name}
    asked |= {f"spec.scheduling.{name}": value for name, value in spec.scheduling.wire().items() if value}
    _, document = _load(path)
    found = [
        f"{path}:{document.line(field)}: {field}: one machine has no nodes and no queues" for field, value in asked.items() if value
    ]
    if found:
        raise Refused("\n".join(found) + "\nLeave it out, or run it on a cluster.", "BadManifest")
    return manifest


def check_names(path: Path, platform: Platform) -> None:
    """Raise Refused where the manifest names a store or an endpoint that the platform does not have."""
    _, spec = read_manifest(path)
    _, document = _load(path)
    if found := [f"{path}:{document.line(name.field)}: {name.field}: {name.refusal}" for name in missing(spec, platform)]:
        raise Refused("\n".join(found), "BadManifest")


def read_platform(path: Path, defaults: dict[str, Any]) -> Platform:
    """Return the platform that a file describes on top of defaults, with the file's folders made absolute."""
    values, document = _load(path)
    try:
        platform = Platform.model_validate(_merge(defaults, values))
    except ValidationError as error:
        raise Refused(_told(path, document, list(explain(error, "platform")), "platform."), "BadPlatform") from None
    if remote := [name for name, store in platform.stores.items() if store.s3]:
        field = f"stores.{remote[0]}.s3"
        raise Refused(
            f"{path}:{document.line(field)}: platform.{field}: is not available in this release: use a folder", "BadPlatform"
        )
    return absolute_folders(platform, path.parent)


def absolute_folders(platform: Platform, root: Path) -> Platform:
    """Return the platform with folder stores resolved against the place of its file."""
    stores = {}
    for name, store in platform.stores.items():
        if store.folder:
            folder = store.folder.model_copy(update={"path": str((root / store.folder.path).resolve())})
            stores[name] = store.model_copy(update={"folder": folder})
        else:
            stores[name] = store
    return platform.model_copy(update={"stores": stores})


def _load(path: Path) -> tuple[dict[str, Any], Document]:
    try:
        document = read_document(path.read_bytes())
    except FileNotFoundError:
        raise Refused(f"{path}: there is no such file", "BadManifest") from None
    except OSError as error:
        raise Refused(f"{path}: cannot be read: {error.strerror}", "BadManifest") from None
    except Unreadable as error:
        twice = f"{shown(error.twice)}: is written twice; keep one of the two" if error.twice else error.problem
        raise Refused(f"{path}:{error.line or 1}: {twice}", "BadManifest") from None
    if not isinstance(document.value, dict):
        raise Refused(f"{path}:1: holds no mapping; a manifest starts with apiVersion, kind, metadata and spec", "BadManifest")
    return document.value, document


def _told(path: Path, document: Document, found: Sequence[tuple[str, str]], prefix: str = "") -> str:
    """Return the first problems with their lines, one a line, and how many more there are."""
    lines = [f"{path}:{document.line(field.removeprefix(prefix))}: {field}: {text}" for field, text in found[:MOST_TOLD]]
    more = len(found) - len(lines)
    return "\n".join([*lines, f"… and {more:,} more"] if more else lines)


def _envelope(manifest: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong around the spec."""
    for name in sorted(manifest.keys() - set(TOP)):
        yield str(name), "there is no such field"
    if manifest.get("apiVersion") != API_VERSION:
        yield "apiVersion", f"must be {API_VERSION}"
    if manifest.get("kind") != KIND:
        yield "kind", f"must be {KIND}"
    metadata = manifest.get("metadata")
    if not isinstance(metadata, dict) or not _is_name(metadata.get("name"), 63):
        yield "metadata.name", "is required: lower-case letters, digits and dashes, at most 63"
    else:
        for name in ("labels", "annotations"):
            if not _is_map_of_strings(metadata.get(name, {})):
                yield f"metadata.{name}", "must be a mapping of strings to strings"
        for name in sorted(metadata.keys() - set(METADATA)):
            yield f"metadata.{name}", "there is no such field"
        if not _is_name(metadata.get("namespace", "default"), 63):
            yield "metadata.namespace", "must be lower-case letters, digits and dashes, at most 63"
    if "spec" not in manifest:
        yield "spec", "is required"


def _is_map_of_strings(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for pair in value.items() for text in pair)


def _is_name(value: object, limit: int) -> bool:
    """RFC 1123 label, as Kubernetes asks of names that become labels."""
    if not isinstance(value, str) or not 0 < len(value) <= limit or value.startswith("-") or value.endswith("-"):
        return False
    return all(char.isascii() and (char.islower() or char.isdigit() or char == "-") for char in value)


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Lay one mapping over another, mapping by mapping."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged
