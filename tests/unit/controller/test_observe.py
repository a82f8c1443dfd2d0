"""What an observation makes of Jobs and pods as Kubernetes writes them. How a Job ended: `test_ends.py`."""

import pytest

from rehearsal.api.status import RunStatus
from rehearsal.cluster.port import Unavailable
from rehearsal.controller.act import act
from rehearsal.controller.jobs import JobState
from rehearsal.controller.observe import observe
from rehearsal.controller.plan import Plan
from rehearsal.controller.record import wire
from rehearsal.manifests.jobs import LABEL
from tests.unit.controller.canned import Canned, Manifest, Together, node, pod, seen
from tests.unit.worlds import NOON


async def test_a_run_that_is_gone_is_none() -> None:
    assert await observe(Canned({}), "research", "other", NOON, 30) is None  # type: ignore[arg-type]


async def test_a_pod_that_cannot_be_placed_is_told_in_the_schedulers_words() -> None:
    words = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    view = await seen(Canned({}, pod("Pending", conditions=[{"type": "PodScheduled", "status": "False", "message": words}])))
    assert (view.state, view.waits) == (JobState.WAITING, words)


async def test_an_image_that_cannot_be_pulled_is_told_in_the_kubelets_words() -> None:
    waiting = {"name": "main", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}
    assert (await seen(Canned({}, pod("Pending", containerStatuses=[waiting])))).waits == "ImagePullBackOff: no such image"


@pytest.mark.fault(66)
async def test_a_job_without_pods_is_explained_by_its_failed_create_events() -> None:
    events = [{"reason": "FailedCreate", "message": 'serviceaccount "rehearsal-worker" not found'}]
    assert "serviceaccount" in (await seen(Canned({}, events=events))).waits


async def test_an_engine_that_starts_is_running_and_says_so() -> None:
    engine = {"name": "engine", "started": False, "state": {"running": {}}}
    view = await seen(Canned({}, pod("Pending", initContainerStatuses=[engine])))
    assert (view.state, view.waits) == (JobState.RUNNING, "engine is starting")


async def test_an_engine_whose_image_cannot_be_pulled_waits_though_its_model_is_loaded() -> None:
    loaded = {"name": "load-model", "state": {"terminated": {"exitCode": 0}}}
    engine = {"name": "engine", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}
    view = await seen(Canned({}, pod("Pending", initContainerStatuses=[loaded, engine])))
    assert (view.state, view.waits) == (JobState.WAITING, "ImagePullBackOff: no such image")


async def test_an_engine_that_died_three_times_at_start_is_hopeless_and_quoted() -> None:
    engine = {
        "name": "engine",
        "restartCount": 3,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
        "lastState": {"terminated": {"exitCode": 2, "message": "Traceback\nerror: unrecognized arguments: --foo\n"}},
    }
    view = await seen(Canned({}, pod("Pending", initContainerStatuses=[engine])))
    assert (view.state, view.hopeless, view.exit_code) == (JobState.FAILED, True, 75)
    assert "unrecognized arguments: --foo" in view.why


async def test_the_last_progress_line_counts_and_other_output_does_not() -> None:
    lines = ['{"progress": {"done": 1, "total": 9}}', '{"progress": {"done": 4, "total": 9}}', "chatter"]
    view = await seen(Canned({}, pod("Running"), log="\n".join(lines)))
    assert view.progress is not None
    assert view.progress.done == 4


async def test_a_progress_line_that_cannot_be_read_is_no_progress() -> None:
    assert (await seen(Canned({}, pod("Running"), log='{"progress": {"done": "many"}}'))).progress is None


async def test_a_node_that_does_not_answer_hides_figures_and_nothing_else() -> None:
    class Silent(Canned):
        async def log_tail(self, namespace: str, pod: str, container: str, lines: int) -> str:
            raise Unavailable("the node does not answer")

    view = await seen(Silent({}, pod("Running")))
    assert (view.state, view.progress) == (JobState.RUNNING, None)


async def test_a_job_that_kueue_holds_back_is_told_in_kueues_words() -> None:
    words = "couldn't assign flavors to pod set main: insufficient unused quota for nvidia.com/gpu in flavor a100, 4 more needed"
    assert (await seen(Queued({"type": "QuotaReserved", "status": "False", "message": words}))).waits == f"Kueue: {words}"


async def test_a_job_that_was_preempted_in_its_queue_says_so() -> None:
    evicted = {"type": "Evicted", "status": "True", "message": "Preempted to accommodate a higher priority workload"}
    assert (await seen(Queued(evicted))).waits == "Kueue: Preempted to accommodate a higher priority workload"


async def test_a_suspended_job_without_a_workload_asks_whether_its_queue_exists() -> None:
    assert "does its LocalQueue exist" in (await seen(Queued(None))).waits


@pytest.mark.fault(71)
async def test_a_job_has_a_place_in_its_queue_until_the_job_controller_takes_it_up_or_kueue_leaves_it_out() -> None:
    pending = {"type": "QuotaReserved", "status": "False", "message": "no quota"}
    suspended = {"conditions": [{"type": "Suspended", "status": "True"}]}
    assert (await seen(Queued(pending))).queue == "gpu"
    assert (await seen(Queued(pending, suspend=False, status=suspended))).queue == "gpu"
    assert (await seen(Queued(pending, suspend=False))).queue == ""
    assert (await seen(Queued(pending, active=False))).queue == ""
    assert (await seen(Queued(None))).queue == ""


async def test_a_job_that_was_made_a_moment_ago_is_not_asked_why_it_has_no_pod() -> None:
    failed = [{"reason": "FailedCreate", "message": "quota"}]
    cluster = Canned({}, events=failed)
    cluster._job["metadata"]["creationTimestamp"] = "2026-01-01T11:59:55Z"
    assert (await seen(cluster)).waits == ""


@pytest.mark.parametrize("stored", [{}, {"observedGeneration": 0}, {"stages": "of a later release", "phase": "Done"}])
async def test_the_first_write_replaces_whatever_status_was_stored(stored: Manifest) -> None:
    class Written(Canned):
        patch: Manifest

        async def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
            found = await super().get(kind, namespace, name)
            return found and {**found, "status": stored}

        async def patch_status(self, kind: str, namespace: str, name: str, status: Manifest, version: str) -> Manifest:
            self.patch = status
            return {"metadata": {"resourceVersion": "8"}, "status": status}

    cluster = Written({})
    observation = await observe(cluster, "research", "medical", NOON, 30)  # type: ignore[arg-type]
    assert observation
    plan = Plan(RunStatus(observed_generation=3))
    await act(cluster, observation.run, plan, NOON)  # type: ignore[arg-type]
    merged = {key: value for key, value in {**stored, **cluster.patch}.items() if value is not None}
    assert merged == wire(plan.status)


class OfAnEarlierRun(Canned):
    """A cluster with a Job of an earlier run of the same name, whose UID was another."""

    def __init__(self) -> None:
        super().__init__({})
        self._job["metadata"]["labels"] |= {f"{LABEL}/run": "medical", f"{LABEL}/run-uid": "run-0"}

    async def list(self, kind: str, namespace: str | None, labels: Manifest) -> list[Manifest]:
        assert namespace == "research"
        return [self._job] if labels.items() <= self._job["metadata"]["labels"].items() else []


async def test_jobs_of_an_earlier_run_of_the_same_name_are_not_its_own() -> None:
    observation = await observe(OfAnEarlierRun(), "research", "medical", NOON, 30)  # type: ignore[arg-type]
    assert observation
    assert observation.jobs == ()


async def test_other_runs_jobs_of_the_same_stage_are_rivals() -> None:
    cluster = Rivals()
    observation = await observe(cluster, "research", "medical", NOON, 30)  # type: ignore[arg-type]
    assert observation
    assert [(job.run, job.stage) for job in observation.rivals] == [("legal", "elicit")]


async def test_preflight_has_no_rivals_though_it_is_labelled_alike_in_every_run() -> None:
    observation = await observe(Rivals("preflight"), "research", "medical", NOON, 30)  # type: ignore[arg-type]
    assert observation
    assert observation.rivals == ()


async def test_a_training_works_when_all_its_nodes_do_and_until_then_it_waits() -> None:
    words = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    unplaced = node(1, "Pending") | {"status": {"phase": "Pending", "conditions": [_unplaced(words)]}}
    loading = {"phase": "Pending", "initContainerStatuses": [{"name": "load-model", "started": False, "state": {"running": {}}}]}
    for first in (node(0, "Running"), node(0, "Pending") | {"status": loading}):
        view = await seen(Together({}, first, unplaced))
        assert (view.state, view.waits) == (JobState.WAITING, words)
    assert (await seen(Together({}, node(0, "Running"), node(1, "Running")))).state is JobState.RUNNING


async def test_a_training_that_has_all_its_nodes_starts_and_does_not_wait_until_one_of_them_lacks_its_image() -> None:
    loading = {"name": "load-model", "started": False, "state": {"running": {}}}
    first = node(0, "Pending") | {
        "status": {"phase": "Pending", "startTime": "2026-01-01T11:59:00Z", "initContainerStatuses": [loading]}
    }
    pulling = {"name": "load-model", "state": {"waiting": {"reason": "PodInitializing"}}}
    second = node(1, "Pending") | {
        "status": {"phase": "Pending", "startTime": "2026-01-01T11:59:00Z", "initContainerStatuses": [pulling]}
    }
    view = await seen(Together({}, first, second))
    assert (view.state, view.waits) == (JobState.RUNNING, "load-model is starting")
    pulling["state"] = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    view = await seen(Together({}, first, second))
    assert (view.state, view.waits) == (JobState.WAITING, "ImagePullBackOff: no such image")


async def test_a_training_that_is_being_given_up_works_though_a_pod_of_it_is_gone() -> None:
    ending = {"conditions": [{"type": "FailureTarget", "status": "True", "reason": "PodFailurePolicy"}]}
    assert (await seen(Together(ending, node(0, "Running")))).state is JobState.RUNNING


async def test_progress_is_what_the_first_node_says() -> None:
    view = await seen(Together({}, node(1, "Running", name="p"), node(0, "Running", name="pod-0")))
    assert view.progress is not None
    assert view.progress.done == len("pod-0")


def _unplaced(words: str) -> Manifest:
    return {"type": "PodScheduled", "status": "False", "message": words}


class Queued(Canned):
    """A cluster whose Job Kueue suspended; its Workload says why."""

    def __init__(
        self, condition: Manifest | None, suspend: bool = True, active: bool = True, status: Manifest | None = None
    ) -> None:
        super().__init__(status or {})
        self._job["spec"] = {"suspend": suspend}
        self._job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "gpu"
        self._workloads = [{"spec": {"active": active}, "status": {"conditions": [condition]}}] if condition else []

    async def list(self, kind: str, namespace: str | None, labels: Manifest) -> list[Manifest]:
        if kind == "Workload":
            assert labels == {"kueue.x-k8s.io/job-uid": "job-1"}
            return self._workloads
        return await super().list(kind, namespace, labels)


class Rivals(Canned):
    """A cluster where another run computes the stage that this one is about to start."""

    def __init__(self, stage: str = "elicit") -> None:
        super().__init__({})
        self._stage = stage
        self._job["metadata"] |= {"ownerReferences": [{"name": "legal", "uid": "run-2"}]}
        self._job["metadata"]["labels"][f"{LABEL}/run-uid"] = "run-2"

    async def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        run = await super().get(kind, namespace, name)
        stage = {"name": self._stage, "fingerprint": "ab" * 32, "state": "Pending"}
        return run and {**run, "spec": {"store": "lake"}, "status": {"stages": [stage]}}

    async def list(self, kind: str, namespace: str | None, labels: Manifest) -> list[Manifest]:
        mine = f"{LABEL}/run-uid" in labels
        wanted = {f"{LABEL}/fingerprint": ("ab" * 32)[:40], f"{LABEL}/store": "lake"}
        return [self._job] if not mine and labels == wanted else []
