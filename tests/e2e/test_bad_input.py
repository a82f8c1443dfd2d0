"""Runs that cannot be carried out: each says why within a minute, in the words of whoever knows; nothing loops; mended, it goes on.

A claim is not among the causes: no pod of a run mounts one.
"""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.e2e.bucket import Bucket
from tests.e2e.cluster import Cluster, a_minute_passes, eventually, uids
from tests.e2e.images import Images
from tests.e2e.install import Installed
from tests.e2e.notes import Notes
from tests.e2e.runs import Run
from tests.e2e.wrong import CASES, Place, Wrong

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

EACH = pytest.mark.parametrize("wrong", CASES, ids=lambda wrong: wrong.name)
MOST_WRITES, MOST_VISITS = 4, 12
"""Of a run, in a minute in which nothing happens: writes of its status, looks at it."""


@dataclass(frozen=True)
class Told:
    """What a run said, and how long after it was applied."""

    message: str
    glance: str
    seconds: float


@pytest.fixture(scope="module")
def place(cluster: Cluster, images: Images, store: Bucket, finished: Run) -> Iterator[Place]:
    """Platforms on which runs go wrong. `finished`: a mended run finds its stages in the store."""
    place = Place(cluster, images, store)
    try:
        place.prepare()
        yield place
    finally:
        place.restore()


@pytest.fixture(scope="module")
def runs(place: Place) -> Iterator[dict[str, Run]]:
    """All of them at once, by name, as far as the cluster can have them."""
    wrongs = [wrong for wrong in CASES if place.cluster.one_node or not wrong.needs_own_node]
    runs = {wrong.name: wrong.run(place.cluster) for wrong in wrongs}
    yield runs
    for run in runs.values():
        run.delete()


@pytest.fixture(scope="module")
def told(runs: dict[str, Run]) -> dict[str, Told]:
    """What each has said within a minute of its apply."""
    applied = {name: (run.apply(), time.monotonic())[1] for name, run in runs.items()}
    said: dict[str, Told] = {}
    while len(said) < len(runs) and time.monotonic() < max(applied.values()) + 60:
        for wrong in (wrong for wrong in CASES if wrong.name in runs.keys() - said.keys()):
            run = runs[wrong.name]
            message, seconds = _says(run, wrong), time.monotonic() - applied[wrong.name]
            if message and seconds < 60:
                said[wrong.name] = Told(message, run.glance(), seconds)
        time.sleep(1)
    return said


@EACH
def test_it_says_why_within_a_minute(runs: dict[str, Run], told: dict[str, Told], wrong: Wrong, notes: Notes) -> None:
    if wrong.name not in runs:
        pytest.skip("gives a node a device that it does not have, and KUBECONFIG names a cluster that is not ours")
    assert wrong.name in told, runs[wrong.name].status()
    said = told[wrong.name]
    assert all(words in said.glance for words in wrong.says), said.glance
    notes.text(f"Bad input: {wrong.name}, told after {said.seconds:.0f} s", f"{said.glance}\n\n{wrong.reason}: {said.message}")


def test_nothing_loops(place: Place, installed: Installed, runs: dict[str, Run], told: dict[str, Told]) -> None:
    """Over a minute no Job and no pod is made, the status is hardly written, and no operator looks all the time."""
    operators = [installed, *place.operators.values()]
    before, visits = {name: _children(run) for name, run in runs.items()}, sum(each.visits() for each in operators)
    watch = place.cluster.start("get", "recon", "--all-namespaces", "--watch-only", "--no-headers")
    a_minute_passes()
    assert watch.poll() is None, watch.communicate()
    watch.terminate()
    said, _ = watch.communicate()
    writes = Counter(line.split()[1] for line in said.splitlines())
    assert {name: _children(run) for name, run in runs.items()} == before
    assert {name: count for name, count in writes.items() if name in runs and count > MOST_WRITES} == {}
    assert sum(each.visits() for each in operators) - visits < MOST_VISITS * len(runs)


@EACH
def test_mended_it_goes_on(place: Place, runs: dict[str, Run], told: dict[str, Told], wrong: Wrong) -> None:
    if wrong.name not in runs:
        pytest.skip("was not applied: the cluster is not ours, and it gives a node a device")
    run = runs[wrong.name]
    wrong.mend(place, run)
    if wrong.reused:
        eventually(lambda: run.is_("Complete"), 900, f"{run.name} is complete", run.status)
    else:
        eventually(lambda: run.pods_at_work("elicit"), 900, f"{run.name} elicits", run.status)
        run.delete()


def _says(run: Run, wrong: Wrong) -> str:
    """What the condition says, if it is what it should."""
    about = run.condition("Failed" if wrong.reason in ("Refused", "StageFailed") else "Reconciling")
    holds = about.get("reason") == wrong.reason and about["status"] == "True"
    return about["message"] if holds and all(words in about["message"] for words in wrong.says) else ""


def _children(run: Run) -> set[str]:
    return uids(run.children("jobs")) | uids(run.children("pods"))
