"""A mirror against a little world that moves on while it is read, and whose news comes late, twice, out of order or not at all."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rehearsal.cluster import memory
from rehearsal.cluster.mirror import Mirror
from rehearsal.cluster.port import Conflict, NotFound, Unavailable

Manifest = dict[str, Any]
OURS = {"app.kubernetes.io/managed-by": "rehearsal"}


def _nothing() -> None: ...


class World:
    """A cluster whose every change is a new version, and the news of all of them.

    `around` a list of a kind: what happens before its answer is made, and what before it arrives.
    """

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Manifest] = {}
        self.news: list[tuple[str, Manifest]] = []
        self.version = 0
        self.asked: list[str] = []
        self.around: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {}

    def write(self, kind: str, name: str, labels: Mapping[str, str] = OURS, namespace: str = "a", **fields: Any) -> Manifest:
        key = (kind, namespace, name)
        present = self.objects.get(key)
        uid = present["metadata"]["uid"] if present else f"{name}-{self.version}"
        metadata = {
            "namespace": namespace,
            "name": name,
            "uid": uid,
            "labels": dict(labels),
            "creationTimestamp": "2026-01-01T00:00:00Z",
        }
        item = {
            "apiVersion": "v1",
            "kind": kind,
            "metadata": metadata | fields.pop("metadata", {}),
            "spec": {},
            "status": {},
            **fields,
        }
        self._happened("MODIFIED" if present else "ADDED", item)
        self.objects[key] = item
        return copy.deepcopy(item)

    def remove(self, kind: str, name: str, namespace: str = "a") -> Manifest:
        item = copy.deepcopy(self.objects.pop((kind, namespace, name)))
        self._happened("DELETED", item)
        return item

    def _happened(self, type: str, item: Manifest) -> None:
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        self.news.append((type, copy.deepcopy(item)))

    async def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        self.asked.append(f"get {kind} {name}")
        return copy.deepcopy(self.objects.get((kind, namespace, name)))

    async def list(self, kind: str, namespace: str | None, labels: Mapping[str, str]) -> list[Manifest]:
        self.asked.append(f"list {kind}")
        before, after = self.around.pop(kind, (_nothing, _nothing))
        before()
        found = [item for (its, where, _), item in self.objects.items() if its == kind and namespace in (None, where)]
        answer = copy.deepcopy([item for item in found if labels.items() <= item["metadata"]["labels"].items()])
        after()
        return answer

    async def create(self, manifest: Manifest) -> Manifest:
        return self.write(manifest["kind"], manifest["metadata"]["name"], manifest["metadata"]["labels"])

    async def delete(self, kind: str, namespace: str, name: str, uid: str) -> None:
        if self.objects[kind, namespace, name]["metadata"]["uid"] != uid:
            raise Conflict(name)
        self.remove(kind, name, namespace)

    async def patch_status(self, kind: str, namespace: str, name: str, status: Manifest, resource_version: str) -> Manifest:
        if (kind, namespace, name) not in self.objects:
            raise NotFound(name)
        if self.objects[kind, namespace, name]["metadata"]["resourceVersion"] != resource_version:
            raise Conflict(name)
        return self.write(kind, name, namespace=namespace, status=status)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def mirror(world) -> Mirror:
    return Mirror(world)


async def names(mirror: Mirror, kind: str, **labels: str) -> list[str]:
    found = await mirror.list(kind, "a", {f"rehearsal.dev/{key.replace('_', '-')}": value for key, value in labels.items()})
    return [item["metadata"]["name"] for item in found]


def of_run(run: Manifest, **labels: str) -> dict[str, str]:
    return OURS | {"rehearsal.dev/run-uid": run["metadata"]["uid"]} | {f"rehearsal.dev/{k}": v for k, v in labels.items()}


async def test_a_mirror_that_was_never_filled_is_not_an_empty_cluster(mirror):
    with pytest.raises(Unavailable):
        await mirror.list("Job", "a", {})
    with pytest.raises(Unavailable):
        await mirror.pods("a", "uid")


async def test_after_a_refresh_reads_ask_nothing(world, mirror):
    run = world.write("ReconstructionRun", "first", {})
    job = world.write("Job", "elicit", of_run(run, fingerprint="f"))
    world.write("Pod", "elicit-0", of_run(run), metadata={"ownerReferences": [{"kind": "Job", "uid": job["metadata"]["uid"]}]})
    await mirror.refresh(None)
    world.asked.clear()
    assert (await mirror.get("ReconstructionRun", "a", "first"))["metadata"]["uid"] == run["metadata"]["uid"]
    assert await names(mirror, "Job", run_uid=run["metadata"]["uid"]) == ["elicit"]
    assert await names(mirror, "Job", fingerprint="f") == ["elicit"]
    assert await names(mirror, "Job", fingerprint="f", run_uid="another") == []
    assert [pod["metadata"]["name"] for pod in await mirror.pods("a", job["metadata"]["uid"])] == ["elicit-0"]
    assert world.asked == []


async def test_a_list_by_an_indexed_label_looks_at_nothing_else(world, mirror, monkeypatch):
    for number in range(50):
        run = world.write("ReconstructionRun", f"run-{number}", {})
        job = world.write("Job", f"job-{number}", of_run(run, fingerprint=f"f{number}"))
        owner = [{"kind": "Job", "uid": job["metadata"]["uid"]}]
        world.write("Pod", f"pod-{number}", of_run(run), metadata={"ownerReferences": owner})
    await mirror.refresh(None)
    looked_at = []

    def unpack(packed: bytes) -> Manifest:
        looked_at.append(packed)
        return real(packed)

    real = memory.unpack
    monkeypatch.setattr(memory, "unpack", unpack)
    assert await names(mirror, "Job", run_uid=run["metadata"]["uid"]) == ["job-49"]
    assert await names(mirror, "Job", fingerprint="f7") == ["job-7"]
    assert len(await mirror.pods("a", job["metadata"]["uid"])) == 1
    assert len(looked_at) == 3


async def test_what_is_returned_is_the_callers_own(world, mirror):
    world.write("ReconstructionRun", "first", {}, spec={"seed": 0})
    await mirror.refresh(None)
    (await mirror.get("ReconstructionRun", "a", "first"))["spec"]["seed"] = 5
    assert (await mirror.get("ReconstructionRun", "a", "first"))["spec"] == {"seed": 0}


async def test_a_job_that_is_not_ours_is_asked_for_and_not_kept(world, mirror):
    await mirror.refresh(None)
    world.write("Job", "theirs", {})
    assert (await mirror.get("Job", "a", "theirs"))["metadata"]["name"] == "theirs"
    assert await mirror.get("Job", "a", "nothing") is None
    assert await names(mirror, "Job") == []


async def test_a_job_that_loses_our_label_is_gone_until_it_has_it_again(world, mirror):
    await mirror.refresh(None)
    mirror.note("ADDED", world.write("Job", "elicit"))
    mirror.note("MODIFIED", world.write("Job", "elicit", {}))
    assert await names(mirror, "Job") == []
    mirror.note("MODIFIED", world.write("Job", "elicit"))
    assert await names(mirror, "Job") == ["elicit"]
    mirror.note("MODIFIED", world.news[1][1])
    assert await names(mirror, "Job") == ["elicit"]


async def test_what_is_written_is_known_at_once(world, mirror):
    await mirror.refresh(None)
    run = await mirror.create(world.write("ReconstructionRun", "first", {}))
    job = await mirror.create({"kind": "Job", "metadata": {"name": "elicit", "labels": of_run(run)}})
    version = run["metadata"]["resourceVersion"]
    patched = await mirror.patch_status("ReconstructionRun", "a", "first", {"phase": "x"}, version)
    world.asked.clear()
    assert await mirror.get("ReconstructionRun", "a", "first") == patched
    assert await mirror.get("Job", "a", "elicit") == job
    await mirror.delete("Job", "a", "elicit", job["metadata"]["uid"])
    assert await names(mirror, "Job") == []
    assert world.asked == []


@pytest.mark.fault(4)
async def test_after_a_conflict_the_next_look_is_a_fresh_one(world, mirror):
    stale = world.write("ReconstructionRun", "first", {})
    await mirror.refresh(None)
    world.write("ReconstructionRun", "first", {}, spec={"seed": 1})
    with pytest.raises(Conflict):
        await mirror.patch_status("ReconstructionRun", "a", "first", {}, stale["metadata"]["resourceVersion"])
    assert (await mirror.get("ReconstructionRun", "a", "first"))["spec"] == {"seed": 1}


async def test_a_status_for_a_run_that_is_gone_shows_that_it_is_gone(world, mirror):
    stale = world.write("ReconstructionRun", "first", {})
    await mirror.refresh(None)
    world.remove("ReconstructionRun", "first")
    with pytest.raises(NotFound):
        await mirror.patch_status("ReconstructionRun", "a", "first", {}, stale["metadata"]["resourceVersion"])
    assert await names(mirror, "ReconstructionRun") == []


async def test_a_delete_of_another_uid_shows_which_one_is_there(world, mirror):
    stale = world.write("Job", "elicit")
    await mirror.refresh(None)
    world.remove("Job", "elicit")
    world.write("Job", "elicit", status={"active": 1})
    with pytest.raises(Conflict):
        await mirror.delete("Job", "a", "elicit", stale["metadata"]["uid"])
    assert (await mirror.get("Job", "a", "elicit"))["status"] == {"active": 1}


@pytest.mark.fault(9)
async def test_news_that_is_old_or_known_changes_nothing_and_wakes_nobody(world, mirror):
    await mirror.refresh(None)
    first = world.write("ReconstructionRun", "first", {})
    second = world.write("ReconstructionRun", "first", {}, spec={"seed": 1})
    assert mirror.note("MODIFIED", second) == ("a", "first")
    assert mirror.note("ADDED", first) is None
    assert mirror.note("MODIFIED", second) is None
    assert (await mirror.get("ReconstructionRun", "a", "first"))["spec"] == {"seed": 1}


async def test_news_of_a_job_or_a_pod_names_its_run(world, mirror):
    await mirror.refresh(None)
    run = world.write("ReconstructionRun", "first", {})
    mirror.note(None, run)
    assert mirror.note("ADDED", world.write("Job", "elicit", of_run(run))) == ("a", "first")
    assert mirror.note("ADDED", world.write("Pod", "elicit-0", of_run(run))) == ("a", "first")
    assert mirror.note("DELETED", world.remove("Job", "elicit")) == ("a", "first")
    assert mirror.note("ADDED", world.write("Job", "other", OURS)) is None


async def test_what_is_deleted_does_not_rise_again(world, mirror):
    await mirror.refresh(None)
    alive = world.write("Job", "elicit")
    mirror.note("DELETED", world.remove("Job", "elicit"))
    mirror.note("MODIFIED", alive)
    assert await names(mirror, "Job") == []
    await mirror.refresh(None)
    mirror.note("MODIFIED", alive)
    assert await names(mirror, "Job") == []


async def test_a_new_object_of_the_same_name_is_another_one(world, mirror):
    await mirror.refresh(None)
    first = world.write("Job", "elicit")
    gone = world.remove("Job", "elicit")
    mirror.note("ADDED", world.write("Job", "elicit", status={"active": 1}))
    mirror.note("MODIFIED", first)
    mirror.note("DELETED", gone)
    assert (await mirror.get("Job", "a", "elicit"))["status"] == {"active": 1}


async def test_the_one_before_a_new_object_of_the_same_name_does_not_rise_again_either(world, mirror):
    await mirror.refresh(None)
    first = world.write("Job", "elicit")
    mirror.note("ADDED", first)
    world.remove("Job", "elicit")
    mirror.note("ADDED", world.write("Job", "elicit"))
    mirror.note("DELETED", world.remove("Job", "elicit"))
    mirror.note("MODIFIED", first)
    assert await names(mirror, "Job") == []


async def test_late_news_of_what_a_list_left_out_does_not_outlive_the_list(world, mirror):
    unheard_of = world.write("Job", "elicit")
    world.remove("Job", "elicit")
    await mirror.refresh(None)
    mirror.note("ADDED", world.write("Job", "filter"))
    world.around["Job"] = _nothing, lambda: mirror.note("ADDED", unheard_of) and None
    await mirror.refresh(None)
    assert await names(mirror, "Job") == ["filter"]


async def test_a_refresh_finds_what_no_watch_told_and_names_the_runs(world, mirror):
    runs = [world.write("ReconstructionRun", name, {}) for name in ("first", "second", "third")]
    for run in runs:
        world.write("Job", f"{run['metadata']['name']}-elicit", of_run(run))
    assert await mirror.refresh(None) == {("a", "first"), ("a", "second"), ("a", "third")}
    assert await mirror.refresh(None) == set()
    world.remove("Job", "first-elicit")
    world.write("Job", "second-elicit", of_run(runs[1]), status={"active": 1})
    assert await mirror.refresh(None) == {("a", "first"), ("a", "second")}
    world.remove("ReconstructionRun", "third")
    assert ("a", "third") in await mirror.refresh(None)
    assert await names(mirror, "ReconstructionRun") == ["first", "second"]


@pytest.mark.fault(13)
async def test_what_a_refresh_found_out_before_it_failed_is_told_by_the_next_one(world, mirror):
    def fail() -> None:
        raise Unavailable("no answer in time")

    world.write("ReconstructionRun", "first", {})
    world.around["Pod"] = fail, _nothing
    with pytest.raises(Unavailable):
        await mirror.refresh(None)
    with pytest.raises(Unavailable, match="does not hold"):
        await mirror.list("Job", None, {})
    assert await mirror.refresh(None) == {("a", "first")}


async def test_a_refresh_of_one_namespace_leaves_the_others_alone(world, mirror):
    world.write("Job", "here")
    world.write("Job", "there", namespace="b")
    await mirror.refresh(None)
    world.remove("Job", "here")
    world.remove("Job", "there", namespace="b")
    await mirror.refresh("a")
    assert [job["metadata"]["name"] for job in await mirror.list("Job", None, {})] == ["there"]


async def test_a_list_that_is_older_than_the_news_does_not_win(world, mirror):
    world.write("Job", "changed")
    world.write("Job", "deleted")
    await mirror.refresh(None)

    def meanwhile() -> None:
        mirror.note("ADDED", world.write("Job", "created"))
        mirror.note("MODIFIED", world.write("Job", "changed", status={"active": 1}))
        mirror.note("DELETED", world.remove("Job", "deleted"))

    world.around["Job"] = _nothing, meanwhile
    await mirror.refresh(None)
    assert await names(mirror, "Job") == ["changed", "created"]
    assert (await mirror.get("Job", "a", "changed"))["status"] == {"active": 1}


class PagedWorld(World):
    async def list(self, *_: object) -> list[Manifest]:
        raise AssertionError("a long list is not asked for whole")

    async def pages(self, kind: str, namespace: str | None, labels: Mapping[str, str]):
        for item in await World.list(self, kind, namespace, labels):
            yield [item]


async def test_a_long_list_is_taken_in_page_by_page():
    world = PagedWorld()
    mirror = Mirror(world)
    for name in ("x", "y"):
        world.write("Job", name)
    await mirror.refresh(None)
    assert await names(mirror, "Job") == ["x", "y"]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from("xy"), st.sampled_from("ab"), st.booleans()),
        st.tuples(st.just("remove"), st.sampled_from("xy"), st.sampled_from("ab")),
        st.tuples(st.just("note"), st.integers(0, 60)),
        st.tuples(st.just("delete"), st.sampled_from("xy"), st.sampled_from("ab")),
    ),
    max_size=12,
)
REFRESHES = st.lists(st.tuples(STEPS, st.sampled_from([None, "a", "b"]), STEPS, STEPS), max_size=4)


class Story:
    """What happens to a world and its mirror; after every step the mirror holds nothing older than it held before."""

    def __init__(self) -> None:
        self.world = World()
        self.mirror = Mirror(self.world)
        self.told: list[tuple[str, Manifest]] = []
        self.held: dict[str, int] = {}
        self.deleted: set[str] = set()

    def step(self, what: str, *details: Any) -> None:
        if what == "write":
            name, namespace, ours = details
            self.world.write("Job", name, OURS if ours else {}, namespace)
        elif what == "remove" and ("Job", details[1], details[0]) in self.world.objects:
            self.world.remove("Job", *details)
        elif what == "note" and self.world.news:
            self.note(*self.world.news[details[0] % len(self.world.news)])
        self.check()

    def steps(self, steps: list[Any]) -> None:
        for step in steps:
            self.step(*step)

    def note(self, type: str, item: Manifest) -> None:
        self.told.append((type, item))
        if type == "DELETED":
            self.deleted.add(item["metadata"]["uid"])
        self.mirror.note(type, copy.deepcopy(item))

    async def delete(self, name: str, namespace: str) -> None:
        if present := self.world.objects.get(("Job", namespace, name)):
            await self.mirror.delete("Job", namespace, name, present["metadata"]["uid"])
        self.check()

    async def refresh(self, namespace: str | None, before: list[Any], after: list[Any]) -> None:
        """Refresh, and let the steps happen before the Jobs' list is made and before it arrives."""
        self.world.around["Job"] = lambda: self.steps(before), lambda: self.steps(after)
        await self.mirror.refresh(namespace)
        self.check()

    def check(self) -> None:
        for item in self.mirror._memory.select("Job", None, {}):
            uid, version = item["metadata"]["uid"], int(item["metadata"]["resourceVersion"])
            assert version >= self.held.get(uid, 0), "an older version than before"
            assert uid not in self.deleted, "it was said to be deleted"
            self.held[uid] = version

    def truth(self) -> set[tuple[str, str]]:
        return {versions(item) for item in self.world.objects.values() if item["metadata"]["labels"] == OURS}

    def memory(self) -> set[tuple[str, str]]:
        return {versions(item) for item in self.mirror._memory.select("Job", None, {})}


def versions(item: Manifest) -> tuple[str, str]:
    return item["metadata"]["uid"], item["metadata"]["resourceVersion"]


@pytest.mark.fault(9)
@given(REFRESHES, STEPS)
async def test_whatever_is_told_in_whatever_order_the_mirror_ends_as_the_last_list_and_never_goes_back(refreshes, steps):
    story = Story()
    for before, namespace, within, after in [*refreshes, (steps, None, [], [])]:
        for step in before:
            if step[0] == "delete":
                await story.delete(*step[1:])
            else:
                story.step(*step)
        await story.refresh(namespace, within, after)
    assert story.memory() == story.truth()
    for type, item in reversed(story.told):
        story.note(type, item)
    assert story.memory() == story.truth()


@pytest.mark.fault(10)
@given(STEPS, STEPS)
async def test_a_watch_that_begins_at_a_list_and_misses_nothing_is_as_good_as_another_list(before, after):
    story = Story()
    story.steps(before)
    await story.refresh(None, [], [])
    known = len(story.world.news)
    story.steps([step for step in after if step[0] != "note"])
    for type, item in story.world.news[known:]:
        story.note(type, item)
    assert story.memory() == story.truth()
