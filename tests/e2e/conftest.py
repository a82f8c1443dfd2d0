"""A session on a real cluster: everything is set up once, runs go through it one after another, and what was seen is written down."""

import os
from collections.abc import Iterator

import pytest

from tests.e2e import bucket, install
from tests.e2e.bucket import Bucket
from tests.e2e.cluster import Cluster, open_cluster
from tests.e2e.images import Images, prepare
from tests.e2e.install import Installed
from tests.e2e.notes import Notes
from tests.e2e.runs import NAMESPACE, QUICKSTART, Run, quickstart
from tests.e2e.story import carried_out

CRD = "reconstructionruns.rehearsal.dev"


@pytest.fixture(scope="session")
def notes() -> Iterator[Notes]:
    """What is told at the end."""
    notes = Notes()
    yield notes
    print(f"\n{notes.write()}:\n\n{notes}")


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The cluster, up."""
    return open_cluster()


@pytest.fixture(scope="session")
def images(cluster: Cluster) -> Images:
    """The images, where the nodes find them."""
    return prepare(cluster)


@pytest.fixture(scope="session")
def store(cluster: Cluster, images: Images) -> Iterator[Bucket]:
    """The bucket, with the quickstart's inputs in it."""
    made = install.store(cluster, images)
    made.upload(QUICKSTART / "store" / "inputs", "inputs")
    yield made
    if not _keep():
        install.remove(cluster, (bucket.NAMESPACE, NAMESPACE, install.BARE))


@pytest.fixture(scope="session")
def installed(cluster: Cluster, images: Images, store: Bucket) -> Iterator[Installed]:
    """The operator, in its pod. A definition that somebody else has installed is left as it is."""
    theirs = _definition(cluster) not in ("", install.RELEASE)
    release = Installed(cluster, images)
    try:
        release.apply({"crds": {"install": not theirs}})
        yield release
    finally:
        if not _keep():
            release.remove()
            install.remove(cluster, [install.SYSTEM])
            if not theirs:
                cluster.kubectl("delete", "crd", CRD, "--ignore-not-found", "--timeout=60s")


@pytest.fixture(scope="session")
def finished(cluster: Cluster, installed: Installed, store: Bucket, notes: Notes) -> Run:
    """The quickstart's run, complete: what it is made of can be reused by every other run."""
    return carried_out(Run(cluster, quickstart()), notes)


def _definition(cluster: Cluster) -> str:
    """Whose release the definition is part of: nothing where there is none, a dash where it is nobody's."""
    found = cluster.get("crd", CRD, "default")
    annotations = found.get("metadata", {}).get("annotations") or {}
    return str(annotations.get("meta.helm.sh/release-name", "-")) if found else ""


def _keep() -> bool:
    """Whether a session leaves everything where it is, for the next one to go on with."""
    return bool(os.environ.get("E2E_KEEP"))
