"""The corpus, as the command judges it. `tests/control/test_crd.py` holds the API server against the same cases."""

import json
from pathlib import Path

import pytest

from rehearsal.api.messages import Refused
from rehearsal.console.manifest import read_manifest
from tests.contract.corpus import Manifest, cases, whole


def refusals(folder: Path, manifest: Manifest) -> list[str]:
    """What the command finds wrong, less what a later release will carry out."""
    path = folder / "run.yaml"
    path.write_text(json.dumps(manifest), encoding="utf-8")  # YAML in which no text is taken for a number
    try:
        read_manifest(path)
    except Refused as refused:
        said = [line for line in str(refused).splitlines() if line.startswith(f"{path}:")]
        return [line for line in said if "not available in this release" not in line]
    return []


def test_the_manifest_that_says_everything_is_accepted(tmp_path: Path) -> None:
    assert refusals(tmp_path, whole()) == []


@pytest.mark.parametrize(("about", "manifest"), cases("accepted").items(), ids=list(cases("accepted")))
def test_a_good_manifest_is_accepted(tmp_path: Path, about: str, manifest: Manifest) -> None:
    assert refusals(tmp_path, manifest) == [], about


@pytest.mark.parametrize(("about", "manifest"), cases("refused").items(), ids=list(cases("refused")))
def test_a_manifest_with_one_thing_wrong_is_refused_for_that_alone(tmp_path: Path, about: str, manifest: Manifest) -> None:
    assert len(refusals(tmp_path, manifest)) == 1, about
