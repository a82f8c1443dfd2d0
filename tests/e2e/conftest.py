"""A session on a real cluster: everything is set up once, runs go through it one after another, and what was seen is written down."""

import os
from collections.abc import Iterator

import pytest

from tests.e2e import bucket, install
from tests.e2e.bucket import Bucket
from tests.e2e.cluster import Cluster, Manifest, open_cluster
from tests.e2e.images import Images, prepare
from tests.e2e.install import Installed
from tests.e2e.notes import Notes
from tests.e2e.runs import NAMESPACE, QUICKSTART, Run, quickstart
from tests.e2e.story import carried_out
from tests.e2e.wrong import GPUS, NO_PULL

CRD = "reconstructionruns.rehearsal.dev"
NAMESPACES = (install.SYSTEM, GPUS, NO_PULL, NAMESPACE, install.BARE, bucket.NAMESPACE)


@pytest.fixture(scope="session")
def notes() -> Iterator[Notes]:
    """What is told at the end."""
    notes = Notes()
    yield notes
    print(f"\n{notes.write()}:\n\n{notes}")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The cluster, up, with nothing of an earlier session on it. `E2E_KEEP` leaves what this one makes, to look at."""
    cluster = open_cluster()
    _clear(cluster)
    yield cluster
    if not os.environ.get("E2E_KEEP"):
        _clear(cluster)


@pytest.fixture(scope="session")
def images(cluster: Cluster) -> Images:
    """The images, where the nodes find them."""
    return prepare(cluster)


@pytest.fixture(scope="session")
def store(cluster: Cluster, images: Images) -> Bucket:
    """The bucket, with the quickstart's inputs in it."""
    made = install.store(cluster, images)
    made.upload(QUICKSTART / "store" / "inputs", "inputs")
    return made


@pytest.fixture(scope="session")
def installed(cluster: Cluster, images: Images, store: Bucket) -> Installed:
    """The operator, in its pod. A definition that is there is somebody else's, and is left as it is."""
    release = Installed(cluster, images)
    release.apply({"crds": {"install": not _definition(cluster)}})
    return release


@pytest.fixture(scope="session")
def finished(cluster: Cluster, installed: Installed, store: Bucket, notes: Notes) -> Run:
    """The quickstart's run, complete: what it is made of can be reused by every other run."""
    return carried_out(Run(cluster, quickstart()), notes)


def _clear(cluster: Cluster) -> None:
    """Remove the namespaces of a session, and the definition if it is ours: a release has nothing else outside of them."""
    install.remove(cluster, NAMESPACES)
    annotations = _definition(cluster).get("metadata", {}).get("annotations") or {}
    if annotations.get("meta.helm.sh/release-name") == install.RELEASE:
        cluster.kubectl("delete", "crd", CRD, "--timeout=240s")


def _definition(cluster: Cluster) -> Manifest:
    return cluster.get("crd", CRD, "default")
