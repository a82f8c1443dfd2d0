"""Reading a manifest and a platform file: every problem is told with file, line and field, before anything starts."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from rehearsal.api.explain import explain, problems
from rehearsal.api.messages import Refused
from rehearsal.api.platform import Platform
from rehearsal.api.run import RunSpec
from rehearsal.controller.hold import missing

API_VERSION, KIND = "rehearsal.dev/v1alpha1", "ReconstructionRun"
TOP = ("apiVersion", "kind", "metadata", "spec")
METADATA = ("name", "namespace", "labels", "annotations")


class _Loader(yaml.SafeLoader):
    """Reads scalars as kubectl does: `1e-6` is a number, a date is text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


class _TwiceError(Exception):
    """A key that is written twice in one mapping: YAML would keep the last and say nothing."""

    def __init__(self, field: str, line: int) -> None:
        super().__init__(field)
        self.field, self.line = field, line


def read_manifest(path: Path) -> tuple[dict[str, Any], RunSpec]:
    """Return the manifest (with a namespace) and its spec; raises Refused with one line a problem."""
    manifest, lines = _load(path)
    found = [*_envelope(manifest)]
    spec: RunSpec | None = None
    if not found:
        spec, found = problems(manifest["spec"])
    if found or spec is None:
        raise Refused("\n".join(f"{path}:{_line(lines, field)}: {field}: {text}" for field, text in found), "BadManifest")
    manifest["metadata"].setdefault("namespace", "default")
    return manifest, spec


def read_for_one_machine(path: Path) -> dict[str, Any]:
    """Return the manifest, or raise Refused where it asks for what processes on one machine do not have."""
    manifest, spec = read_manifest(path)
    asked: dict[str, object] = {"spec.queueName": spec.queue_name}
    asked |= {f"spec.scheduling.{name}": value for name, value in spec.scheduling.wire().items() if value}
    _, lines = _load(path)
    found = [
        f"{path}:{_line(lines, field)}: {field}: one machine has no nodes and no queues" for field, value in asked.items() if value
    ]
    if found:
        raise Refused("\n".join(found) + "\nLeave it out, or run it on a cluster.", "BadManifest")
    return manifest


def check_names(path: Path, platform: Platform) -> None:
    """Raise Refused where the manifest names a store or an endpoint that the platform does not have."""
    _, spec = read_manifest(path)
    _, lines = _load(path)
    if found := [f"{path}:{_line(lines, name.field)}: {name.field}: {name.refusal}" for name in missing(spec, platform)]:
        raise Refused("\n".join(found), "BadManifest")


def read_platform(path: Path, defaults: dict[str, Any]) -> Platform:
    """Return the platform that a file describes on top of defaults, with the file's folders made absolute."""
    values, lines = _load(path)
    try:
        platform = Platform.model_validate(_merge(defaults, values))
    except ValidationError as error:
        text = "\n".join(
            f"{path}:{_line(lines, field.removeprefix('platform.'))}: {field}: {text}" for field, text in explain(error, "platform")
        )
        raise Refused(text, "BadPlatform") from None
    if remote := [name for name, store in platform.stores.items() if store.s3]:
        field = f"stores.{remote[0]}.s3"
        raise Refused(
            f"{path}:{_line(lines, field)}: platform.{field}: is not available in this release: use a folder", "BadPlatform"
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


def _load(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=_Loader)
        lines = dict(_lines(node, "")) if node else {}
        value = _Loader(text).get_single_data()
    except _TwiceError as error:
        raise Refused(f"{path}:{error.line}: {error.field}: is written twice; keep one of the two", "BadManifest") from None
    except RecursionError:
        raise Refused(f"{path}: an alias holds itself", "BadManifest") from None
    except FileNotFoundError:
        raise Refused(f"{path}: there is no such file", "BadManifest") from None
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{path}: cannot be read: {error}", "BadManifest") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise Refused(f"{path}:{line}: not YAML: {error.problem}", "BadManifest") from None
    except yaml.YAMLError as error:
        raise Refused(f"{path}: not one YAML document: {error}", "BadManifest") from None
    if not isinstance(value, dict) or node is None:
        raise Refused(f"{path}:1: holds no mapping; a manifest starts with apiVersion, kind, metadata and spec", "BadManifest")
    return value, lines


def _lines(node: yaml.Node, path: str) -> Iterator[tuple[str, int]]:
    """Yield (field path, line) of every node."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            inner = f"{path}.{key.value}".lstrip(".")
            if inner in seen:
                raise _TwiceError(inner, key.start_mark.line + 1)
            seen.add(inner)
            yield inner, key.start_mark.line + 1
            yield from _lines(value, inner)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield f"{path}[{index}]", value.start_mark.line + 1
            yield from _lines(value, f"{path}[{index}]")


def _line(lines: dict[str, int], field: str) -> int:
    """Return the line of a field, or of the nearest one around it that is written."""
    while field and field not in lines:
        cut = max(field.rfind("."), field.rfind("["))
        field = field[:cut] if cut > 0 else ""
    return lines.get(field, 1)


def _envelope(manifest: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong around the spec."""
    for name in manifest.keys() - set(TOP):
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
        for name in metadata.keys() - set(METADATA):
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
