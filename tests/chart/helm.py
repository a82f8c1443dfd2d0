"""The chart, as Helm renders, refuses and installs it."""

import os
import re
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.tools import ROOT, tool

Manifest = dict[str, Any]
CHART = ROOT / "charts" / "rehearsal"
RELEASE = "rehearsal"


class _Loader(yaml.CSafeLoader):
    """Reads 1e-06, as Helm writes it, as the number that it is to Kubernetes."""


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^-?[0-9]+(\.[0-9]+)?e[-+]?[0-9]+$"), list("-0123456789"))


class HelmRefused(Exception):
    """Helm ended with an error; the text is its own."""


def helm(*arguments: str, values: Manifest | None = None) -> str:
    """Run Helm, with these values beside those that the arguments set, and return what it prints."""
    done = subprocess.run(
        [_program(), *arguments, *(["--values=-"] if values else [])],
        input=yaml.safe_dump(values) if values else None,
        capture_output=True,
        check=False,
        text=True,
        timeout=240,
        env={**os.environ, **_homes()},
    )
    if done.returncode:
        raise HelmRefused(done.stderr.strip())
    return done.stdout


def render(
    values: Manifest | None = None, *options: str, release: str = RELEASE, namespace: str = "ops", chart: Path = CHART
) -> list[Manifest]:
    """Return what an install would apply."""
    text = helm("template", release, str(chart), f"--namespace={namespace}", *options, values=values)
    return [manifest for manifest in yaml.load_all(text, _Loader) if manifest]


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def one(manifests: list[Manifest], kind: str) -> Manifest:
    (found,) = of_kind(manifests, kind)
    return found


def platform_of(manifests: list[Manifest]) -> str:
    """Return the platform file that the operator reads."""
    return str(one(manifests, "ConfigMap")["data"]["platform.yaml"])


@cache
def _program() -> str:
    return tool("helm")


@cache
def _homes() -> dict[str, str]:
    """Helm's own folders, so that no test meets what this machine's user has configured."""
    folder = tempfile.TemporaryDirectory(prefix="helm-")
    _kept.append(folder)
    return {f"HELM_{home}_HOME": f"{folder.name}/{home.lower()}" for home in ("CACHE", "CONFIG", "DATA")}


_kept: list[tempfile.TemporaryDirectory[str]] = []
