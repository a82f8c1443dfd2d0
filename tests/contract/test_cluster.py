"""What every cluster must do, as the port says. One suite for every adapter; an adapter joins by an entry in ADAPTERS."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import pytest_asyncio

from rehearsal.cluster.kubernetes import KubernetesCluster
from rehearsal.cluster.local import Capacity, LocalCluster
from rehearsal.cluster.mirror import Mirror
from rehearsal.cluster.port import AlreadyExists, Cluster, Conflict, Invalid, NotFound
from tests.contract.cluster_jobs import NAMESPACE, job_of, run_of, too_big, until
from tests.faults.memory import MemoryCluster, stepping

Opened = AbstractAsyncContextManager[Cluster]


def a_folder(request: pytest.FixtureRequest) -> Opened:
    return LocalCluster(request.getfixturevalue("tmp_path"), Capacity(cpu=2, memory=1 << 30))


def an_api_server(request: pytest.FixtureRequest) -> Opened:
    return KubernetesCluster(request.getfixturevalue("research").kubeconfig)


@asynccontextmanager
async def mirrored(cluster: Opened) -> AsyncIterator[Cluster]:
    """A mirror that is refreshed without end."""

    async def keep_refreshing() -> None:
        while True:
            await mirror.refresh(NAMESPACE)
            await asyncio.sleep(0.01)

    async with cluster as opened:
        mirror = Mirror(opened)
        await mirror.refresh(None)
        refreshing = asyncio.create_task(keep_refreshing())
        yield mirror
        refreshing.cancel()
        await asyncio.gather(refreshing, return_exceptions=True)


ADAPTERS: dict[str, Callable[[pytest.FixtureRequest], Opened]] = {
    "local": a_folder,
    "memory": lambda _: stepping(MemoryCluster()),
    "kubernetes": an_api_server,
    "mirror of local": lambda request: mirrored(a_folder(request)),
    "mirror of kubernetes": lambda request: mirrored(an_api_server(request)),
}


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.control if "kubernetes" in name else ()) for name in ADAPTERS])
def adapter(request: pytest.FixtureRequest) -> Opened:
    return ADAPTERS[request.param](request)


@pytest_asyncio.fixture
async def cluster(adapter: Opened) -> AsyncIterator[Cluster]:
    async with adapter as opened:
        yield opened


def status_of(run):
    """A run's status, without what its definition says where nobody has written any."""
    status = run.get("status") or {}
    return {key: value for key, value in status.items() if (key, value) != ("observedGeneration", 0)}


async def test_what_is_created_is_there_with_what_the_server_adds(cluster):
    created = await cluster.create(run_of("first"))
    assert await cluster.get("ReconstructionRun", NAMESPACE, "first") == created
    assert created["spec"]["seed"] == 0
    assert created["metadata"]["generation"] == 1
    assert created["metadata"]["uid"] and created["metadata"]["resourceVersion"] and created["metadata"]["creationTimestamp"]


async def test_what_is_not_there_is_none(cluster):
    assert await cluster.get("Job", NAMESPACE, "nothing") is None
    assert await cluster.list("Job", NAMESPACE, {}) == []


async def test_a_name_is_given_once(cluster):
    await cluster.create(run_of("first"))
    with pytest.raises(AlreadyExists):
        await cluster.create(run_of("first"))


async def test_a_status_in_a_new_manifest_is_not_believed(cluster):
    created = await cluster.create(run_of("first") | {"status": {"phase": "Done"}})
    assert status_of(created) == {}


async def test_an_unknown_kind_is_refused(cluster):
    with pytest.raises(Invalid):
        await cluster.create(run_of("first") | {"kind": "Reconstruction"})


async def test_what_is_returned_is_the_callers_own(cluster):
    created = await cluster.create(run_of("first"))
    created["spec"]["seed"] = 5
    assert (await cluster.get("ReconstructionRun", NAMESPACE, "first"))["spec"]["seed"] == 0


async def test_objects_are_selected_by_all_labels_and_by_namespace(cluster):
    for name in ("elicit", "filter"):
        manifest = job_of(too_big(), name)
        manifest["metadata"]["labels"]["rehearsal.dev/run"] = "first"
        await cluster.create(manifest)

    async def names(namespace, **labels):
        return [
            job["metadata"]["name"]
            for job in await cluster.list("Job", namespace, {f"rehearsal.dev/{k}": v for k, v in labels.items()})
        ]

    assert await names(NAMESPACE, run="first") == ["elicit", "filter"]
    assert await names(None, run="first", stage="filter") == ["filter"]
    assert await names(NAMESPACE, run="second") == []
    assert await names("elsewhere", run="first") == []


async def test_only_the_object_of_that_uid_is_deleted(cluster):
    created = await cluster.create(run_of("first"))
    with pytest.raises(Conflict):
        await cluster.delete("ReconstructionRun", NAMESPACE, "first", "00000000-0000-0000-0000-000000000000")
    await cluster.delete("ReconstructionRun", NAMESPACE, "first", created["metadata"]["uid"])
    assert await cluster.get("ReconstructionRun", NAMESPACE, "first") is None


async def test_deleting_what_is_gone_is_fine(cluster):
    await cluster.delete("Job", NAMESPACE, "nothing", "00000000-0000-0000-0000-000000000000")


async def test_a_status_is_merged_and_makes_no_new_generation(cluster):
    created = await cluster.create(run_of("first"))
    version = created["metadata"]["resourceVersion"]
    status = {"inputs": {"x": "1", "y": "2"}, "folded": ["a", "b"], "rounds": 1}
    first = await cluster.patch_status("ReconstructionRun", NAMESPACE, "first", status, version)
    assert first["metadata"]["resourceVersion"] != version
    patch = {"inputs": {"y": "3"}, "usage": {"gpuHours": None}, "folded": ["c"], "rounds": None}
    second = await cluster.patch_status("ReconstructionRun", NAMESPACE, "first", patch, first["metadata"]["resourceVersion"])
    assert status_of(second) == {"inputs": {"x": "1", "y": "3"}, "usage": {}, "folded": ["c"]}
    assert second["metadata"]["generation"] == 1
    assert second["spec"] == created["spec"]


async def test_a_status_for_a_version_that_is_no_more_is_a_conflict(cluster):
    created = await cluster.create(run_of("first"))
    stale = created["metadata"]["resourceVersion"]
    await cluster.patch_status("ReconstructionRun", NAMESPACE, "first", {"rounds": 1}, stale)
    with pytest.raises(Conflict):
        await cluster.patch_status("ReconstructionRun", NAMESPACE, "first", {"rounds": 2}, stale)
    assert status_of(await cluster.get("ReconstructionRun", NAMESPACE, "first")) == {"rounds": 1}


async def test_a_status_of_nothing_is_not_found(cluster):
    with pytest.raises(NotFound):
        await cluster.patch_status("ReconstructionRun", NAMESPACE, "first", {"rounds": 2}, "1")


async def test_a_job_gets_a_pod_that_it_owns(cluster):
    job = await cluster.create(job_of(too_big()))
    (pod,) = await until(lambda: cluster.pods(NAMESPACE, job["metadata"]["uid"]))
    assert pod["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]
    assert pod["metadata"]["labels"]["rehearsal.dev/stage"] == "job"
    assert pod["status"]["phase"] == "Pending"
    assert await cluster.log_tail(NAMESPACE, pod["metadata"]["name"], "main", 5) == ""


async def test_what_a_run_owns_goes_with_it(cluster):
    run = await cluster.create(run_of("first"))
    job = await cluster.create(job_of(too_big(), owner=run))
    await until(lambda: cluster.pods(NAMESPACE, job["metadata"]["uid"]))
    await cluster.delete("ReconstructionRun", NAMESPACE, "first", run["metadata"]["uid"])

    async def gone():
        return not await cluster.list("Job", NAMESPACE, {}) and not await cluster.list("Pod", NAMESPACE, {})

    await until(gone)


async def test_events_are_found_by_what_they_are_about(cluster):
    runs = [await cluster.create(run_of(name)) for name in ("first", "second")]
    for run in runs:
        about = {"kind": run["kind"], "namespace": NAMESPACE, "name": run["metadata"]["name"], "uid": run["metadata"]["uid"]}
        for reason in ("Started", "Finished"):
            event = {"metadata": {"namespace": NAMESPACE}, "involvedObject": about, "type": "Normal", "reason": reason}
            await cluster.emit(event | {"message": f"{reason} {about['name']}"})
    events = await cluster.events(NAMESPACE, runs[1]["metadata"]["uid"])
    assert [event["message"] for event in events] == ["Started second", "Finished second"]


async def test_the_log_of_an_unknown_pod_is_not_found(cluster):
    with pytest.raises(NotFound):
        await cluster.log_tail(NAMESPACE, "nothing", "main", 5)
