"""A refusal by the API server is told to the run that met it."""

import pytest

from rehearsal.api.status import Condition, RunStatus
from rehearsal.cluster.port import Forbidden, Invalid, Manifest
from rehearsal.controller.observe import read_run
from rehearsal.controller.record import wire
from rehearsal.controller.trouble import tell
from tests.faults.memory import NOON, MemoryCluster
from tests.unit.worlds import a_spec

pytestmark = pytest.mark.fault(15)

REFUSED = Forbidden("may not create Job: jobs.batch is forbidden")
EARLIER = "2025-12-31T00:00:00Z"


async def a_cluster(**conditions: str) -> MemoryCluster:
    """With one run, which has these conditions."""
    cluster = MemoryCluster()
    run: Manifest = {
        "apiVersion": "rehearsal.dev/v1alpha1",
        "kind": "ReconstructionRun",
        "metadata": {"name": "medical", "namespace": "research"},
        "spec": a_spec(),
    }
    created = await cluster.create(run)
    told = [
        Condition(type=type_, status=status, reason="R", last_transition_time=EARLIER, observed_generation=1)
        for type_, status in conditions.items()
    ]
    version = created["metadata"]["resourceVersion"]
    await cluster.patch_status(
        "ReconstructionRun", "research", "medical", wire(RunStatus(observed_generation=1, conditions=told)), version
    )
    return cluster


async def status_of(cluster: MemoryCluster) -> RunStatus:
    found = await cluster.get("ReconstructionRun", "research", "medical")
    assert found
    return read_run(found).status


async def test_the_run_is_stalled_with_verb_and_kind_in_the_message() -> None:
    cluster = await a_cluster()
    assert await tell(cluster, "research", "medical", REFUSED, NOON)
    status = await status_of(cluster)
    stalled, reconciling = status.condition("Stalled"), status.condition("Reconciling")
    assert stalled
    assert reconciling
    assert (stalled.status, stalled.reason) == ("True", "Forbidden")
    assert "may not create Job" in stalled.message
    assert reconciling.status == "False"


async def test_what_is_told_already_is_not_written_again() -> None:
    cluster = await a_cluster()
    await tell(cluster, "research", "medical", REFUSED, NOON)
    written = len(cluster.written)
    assert not await tell(cluster, "research", "medical", REFUSED, NOON)
    assert len(cluster.written) == written
    assert await tell(cluster, "research", "medical", Forbidden("may not delete Job: no"), NOON)


@pytest.mark.parametrize("over", ["Complete", "Failed"])
async def test_a_run_that_is_over_is_left_as_it_is(over: str) -> None:
    cluster = await a_cluster(**{over: "True"})
    assert not await tell(cluster, "research", "medical", REFUSED, NOON)
    assert (await status_of(cluster)).condition("Stalled") is None


async def test_a_run_that_is_gone_is_told_nothing() -> None:
    assert not await tell(MemoryCluster(), "research", "medical", REFUSED, NOON)


async def test_an_admission_policys_refusal_is_told_in_its_words() -> None:
    cluster = await a_cluster()
    assert await tell(cluster, "research", "medical", Invalid("spec.template: images must be signed"), NOON)
    stalled = (await status_of(cluster)).condition("Stalled")
    assert stalled
    assert (stalled.reason, stalled.message) == ("Invalid", "the API server refuses: spec.template: images must be signed")
