"""Manifests that both places must judge alike: `rehearsal run` by the models, `kubectl apply` by the generated schema.

`tests/data/manifests/whole.yaml` says everything there is to say; a case sets one or two paths in a copy of it.
"""

import re
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[1] / "data" / "manifests"

Manifest = dict[str, Any]


@cache
def whole() -> Manifest:
    """The manifest that says everything; not to be written to."""
    return yaml.safe_load((FOLDER / "whole.yaml").read_text(encoding="utf-8"))


@cache
def cases(verdict: str) -> dict[str, Manifest]:
    """What the case is about -> its manifest, of `accepted.yaml` or `refused.yaml`."""
    changes = yaml.safe_load((FOLDER / f"{verdict}.yaml").read_text(encoding="utf-8"))
    return {about: changed(whole(), paths) for about, paths in changes.items()}


def changed(manifest: Manifest, paths: dict[str, Any]) -> Manifest:
    """A copy of the manifest with each path set to its value."""
    made = deepcopy(manifest)
    for path, value in paths.items():
        *outer, last = (int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]]+", path))
        place: Any = made
        for part in outer:
            place = place[part]
        if value == {"absent": True}:
            del place[last]
        else:
            place[last] = _meant(value)
    return made


def _meant(value: Any) -> Any:
    """The value that a case's shorthand stands for."""
    match value:
        case {"repeat": text, "times": times, "number": True}:
            return int(text * times)
        case {"repeat": text, "times": times}:
            return text * times
        case {"labels": times}:
            return {f"label-{number}": "x" for number in range(times)}
        case {"members": times}:
            return [{"name": f"m{number}", "model": {"uri": "store://m"}} for number in range(times)]
        case {"tasks": times}:
            return [{"name": f"t{number}", "uri": "store://t.yaml"} for number in range(times)]
    return value
