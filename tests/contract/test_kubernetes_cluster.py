"""What only an API server does: it pages, forbids, and says which field is wrong."""

import pytest
import pytest_asyncio

from rehearsal.cluster import kubernetes
from rehearsal.cluster.kubernetes import KubernetesCluster
from rehearsal.cluster.mirror import Paged
from rehearsal.cluster.port import Forbidden, Invalid
from tests.contract.cluster_jobs import NAMESPACE, job_of, run_of, shell

pytestmark = pytest.mark.control


@pytest_asyncio.fixture
async def cluster(research):
    async with KubernetesCluster(research.kubeconfig) as opened:
        yield opened


async def test_a_list_of_several_pages_is_whole(cluster, monkeypatch):
    monkeypatch.setattr(kubernetes, "_PAGE", 2)
    for number in range(5):
        await cluster.create(run_of(f"run-{number}"))
    runs = await cluster.list("ReconstructionRun", NAMESPACE, {})
    assert [run["metadata"]["name"] for run in runs] == [f"run-{number}" for number in range(5)]
    assert {(run["apiVersion"], run["kind"]) for run in runs} == {("rehearsal.dev/v1alpha1", "ReconstructionRun")}
    pages = [page async for page in cluster.pages("ReconstructionRun", NAMESPACE, {})]
    assert [len(page) for page in pages] == [2, 2, 1]
    assert isinstance(cluster, Paged)


async def test_an_invalid_manifest_is_refused_by_the_path_of_the_field(cluster):
    with pytest.raises(Invalid, match=r"^spec\.template\.spec\.containers\[0\]\.image: "):
        await cluster.create(job_of(shell("true") | {"image": ""}))
    with pytest.raises(Invalid, match=r"^spec\.training\.epochs"):
        await cluster.create(run_of("first", run_of("first")["spec"] | {"training": {"epochs": -1}}))


async def test_without_kueue_there_are_no_workloads(cluster):
    assert await cluster.list("Workload", NAMESPACE, {}) == []


@pytest.mark.fault(15)
async def test_what_an_account_may_not_do_is_named(cluster, research):
    kubeconfig = research.kubeconfig_for(research.service_account_token("default", "default"), "powerless")
    async with KubernetesCluster(kubeconfig) as powerless:
        with pytest.raises(Forbidden, match=r"^may not create Job: .*cannot create resource"):
            await powerless.create(job_of(shell("true")))
        with pytest.raises(Forbidden, match=r"^may not list Pod: "):
            await powerless.pods(NAMESPACE, "uid")
