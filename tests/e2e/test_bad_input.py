"""Runs that cannot be carried out: each says why within a minute, in the words of whoever knows; nothing loops; mended, it goes on.

A claim is not among the causes: no pod of a run mounts one.
"""

import time
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.e2e import install
from tests.e2e.bucket import Bucket
from tests.e2e.cluster import Cluster, eventually, uids
from tests.e2e.images import Images
from tests.e2e.notes import Notes
from tests.e2e.runs import Run
from tests.e2e.wrong import CASES, GPUS, NO_PULL, Place, Wrong

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

EACH = pytest.mark.parametrize("wrong", CASES, ids=lambda wrong: wrong.name)
MOST_WRITES = 4
"""Status writes of a run in a minute in which nothing happens."""


@pytest.fixture(scope="module")
def place(cluster: Cluster, images: Images, store: Bucket, finished: Run) -> Iterator[Place]:
    """Platforms on which runs go wrong. `finished`: a mended run finds its stages in the store."""
    if not cluster.one_node:
        pytest.skip("gives a node a device that it does not have, and KUBECONFIG names a cluster that is not ours")
    place = Place(cluster, images, store)
    place.prepare()
    yield place
    place.restore()
    install.remove(cluster, (GPUS, NO_PULL))


@pytest.fixture(scope="module")
def runs(place: Place) -> Iterator[dict[str, Run]]:
    """All of them at once, by name."""
    runs = {wrong.name: wrong.run(place.cluster).apply() for wrong in CASES}
    yield runs
    for run in runs.values():
        run.delete()


@EACH
def test_it_says_why_within_a_minute(runs: dict[str, Run], wrong: Wrong, notes: Notes) -> None:
    run = runs[wrong.name]

    def told() -> str:
        about = run.condition("Failed" if wrong.reason in ("Refused", "StageFailed") else "Reconciling")
        return about["message"] if about.get("reason") == wrong.reason and about["status"] == "True" else ""

    message = eventually(told, 60, f"{wrong.reason}: {run.status()}")
    assert all(words in message for words in wrong.says), message
    notes.text(f"Bad input: {wrong.name}", f"{run.glance()}\n\n{wrong.reason}: {message}")


def test_nothing_loops(place: Place, runs: dict[str, Run]) -> None:
    """Over a minute no Job and no pod is made, and the status is hardly written."""
    before = {name: _children(run) for name, run in runs.items()}
    watch = place.cluster.start("get", "recon", "--all-namespaces", "--watch-only", "--no-headers")
    end = time.monotonic() + 60
    eventually(lambda: time.monotonic() > end, 70, "a minute")
    watch.terminate()
    said, _ = watch.communicate()
    writes = Counter(line.split()[1] for line in said.splitlines())
    assert {name: _children(run) for name, run in runs.items()} == before
    assert {name: count for name, count in writes.items() if name in runs and count > MOST_WRITES} == {}


@EACH
def test_mended_it_goes_on(place: Place, runs: dict[str, Run], wrong: Wrong) -> None:
    run = runs[wrong.name]
    wrong.mend(place, run)
    if wrong.reused:
        eventually(lambda: run.is_("Complete"), 180, f"{run.name} is complete: {run.condition('Reconciling')}")
    else:
        eventually(lambda: run.pods_at_work("elicit"), 600, f"{run.name} elicits: {run.condition('Reconciling')}")
        run.delete()


def _children(run: Run) -> set[str]:
    return uids(run.children("jobs")) | uids(run.children("pods"))
