"""The laptop's side of a comparison: `rehearsal run` of the quickstart's own manifest, in a folder, on what a cluster has made."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from rehearsal.api.platform import FolderStore as FolderConfig
from rehearsal.api.platform import StoreConfig
from rehearsal.store.commit import Artifact
from rehearsal.store.open import open_store
from tests.e2e.runs import NAMESPACE, QUICKSTART

COMMAND = str(Path(sys.executable).parent / "rehearsal")
RUN_SECONDS = 1200


class Laptop:
    """A folder with manifest, platform and inputs of the quickstart, and the artifacts of a bucket in its store.

    The namespace is the cluster's, for an artifact's keys begin with it.
    """

    def __init__(self, folder: Path, artifacts: Path) -> None:
        self.folder, self.artifacts = folder, folder / "store" / NAMESPACE
        folder.mkdir(parents=True)
        shutil.copy(QUICKSTART / "platform.yaml", folder)
        shutil.copytree(QUICKSTART / "store" / "inputs", folder / "store" / "inputs")
        shutil.copytree(artifacts / NAMESPACE, self.artifacts)
        manifest = yaml.safe_load((QUICKSTART / "run.yaml").read_text())
        manifest["metadata"]["namespace"] = NAMESPACE
        (folder / "run.yaml").write_text(yaml.safe_dump(manifest))

    def forget(self, *outputs: str) -> None:
        """Remove outputs, each `kind/fingerprint`."""
        for output in outputs:
            shutil.rmtree(self.artifacts / output)

    def run(self) -> str:
        """Carry out what is missing, and return what the command prints."""
        done = subprocess.run(
            [COMMAND, "run", "run.yaml"], cwd=self.folder, capture_output=True, check=False, text=True, timeout=RUN_SECONDS
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def seals(artifacts: Path) -> dict[str, bytes]:
    """Return `kind/fingerprint` -> the seal, of everything sealed below a namespace's folder."""
    return {"/".join(path.parts[-3:-1]): path.read_bytes() for path in artifacts.glob("*/*/manifest.json")}


def rows(artifacts: Path, output: str) -> list[dict[str, object]]:
    """Return the rows of an output, each shard checked against its digest."""
    kind, _, fingerprint = output.partition("/")
    config = StoreConfig(folder=FolderConfig(path=str(artifacts.parent)))
    return list(Artifact(open_store(config), artifacts.name, kind, fingerprint, output).rows())


def differs(one: bytes, other: bytes) -> str:
    """Say in which parts two seals differ: facts by name, rows, files."""
    ours, theirs = json.loads(one), json.loads(other)
    facts = sorted(name for name in {**ours["facts"], **theirs["facts"]} if ours["facts"].get(name) != theirs["facts"].get(name))
    files = ours.get("files") != theirs.get("files")
    data = ours.get("shards") != theirs.get("shards")
    return "; ".join(
        [*(["rows"] if data else []), *(["files"] if files else []), *([f"facts {', '.join(facts)}"] if facts else [])]
    )
