"""What an observation makes of Jobs and pods as Kubernetes writes them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rehearsal.api.messages import Termination
from rehearsal.api.status import RunStatus
from rehearsal.cluster.port import Unavailable
from rehearsal.controller.act import act, wire
from rehearsal.controller.jobs import JobState, JobView
from rehearsal.controller.ledger import why_failed
from rehearsal.controller.observe import Observation, observe
from rehearsal.controller.plan import Plan
from rehearsal.manifests.jobs import LABEL
from tests.unit.worlds import NOON

Manifest = dict[str, Any]


class Canned:
    """A cluster that holds one run, one Job and its pods."""

    def __init__(self, job_status: Manifest, *pods: Manifest, events: list[Manifest] | None = None, log: str = "") -> None:
        self._job = {
            "metadata": {
                "name": "medical-elicit-1",
                "namespace": "research",
                "uid": "job-1",
                "creationTimestamp": "2026-01-01T11:00:00Z",
                "labels": {f"{LABEL}/stage": "elicit", f"{LABEL}/run-uid": "run-1"},
                "annotations": {f"{LABEL}/{key}": "0" for key in ("fingerprint", "attempt", "execution", "devices")},
            },
            "status": job_status,
        }
        self._pods, self._events, self._log = list(pods), events or [], log

    async def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        metadata = {"name": name, "namespace": namespace, "uid": "run-1", "resourceVersion": "7", "generation": 3}
        return {"metadata": metadata, "spec": {}} if name == "medical" else None

    async def list(self, kind: str, namespace: str | None, labels: Manifest) -> list[Manifest]:
        return [self._job]

    async def pods(self, namespace: str, job_uid: str) -> list[Manifest]:
        return self._pods

    async def events(self, namespace: str, uid: str) -> list[Manifest]:
        return self._events

    async def log_tail(self, namespace: str, pod: str, container: str, lines: int) -> str:
        return self._log


def pod(phase: str, **status: Any) -> Manifest:
    return {"metadata": {"name": "p"}, "status": {"phase": phase, **status}}


def ended(code: int, word: Termination | None = None, name: str = "main", at: str = "2026-01-01T00:00:00Z") -> Manifest:
    message = word.model_dump_json(by_alias=True) if word else ""
    return {"name": name, "state": {"terminated": {"exitCode": code, "message": message, "finishedAt": at}}}


async def seen(cluster: Canned) -> JobView:
    observation = await observe(cluster, "research", "medical", NOON, 30)  # type: ignore[arg-type]
    assert isinstance(observation, Observation)
    return observation.jobs[0]


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


async def test_of_a_complete_job_a_successful_pods_word_counts() -> None:
    good = ended(0, Termination(fingerprint="f", manifest_digest="d"), at="2026-01-01T00:00:00Z")
    bad = ended(69, Termination(reason="Unavailable", message="no"), at="2026-01-01T00:09:00Z")
    job = {"conditions": [{"type": "Complete", "status": "True"}], "completionTime": "2026-01-01T00:10:00Z"}
    view = await seen(Canned(job, pod("Succeeded", containerStatuses=[good]), pod("Failed", containerStatuses=[bad])))
    assert view.state is JobState.COMPLETE
    assert view.termination is not None
    assert view.termination.manifest_digest == "d"


@pytest.mark.fault(9)
@pytest.mark.parametrize("end", ["Complete", "Failed"])
async def test_a_job_whose_end_is_seen_before_its_pods_is_not_over_until_the_pod_has_had_its_say(end: str) -> None:
    over = {"conditions": [{"type": end, "status": "True"}]}
    assert (await seen(Canned(over, pod("Running")))).state is JobState.RUNNING
    leaving = pod("Running") | {"metadata": {"name": "p", "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    assert (await seen(Canned(over, leaving))).state is JobState(end)
    assert (await seen(Canned(over))).state is JobState(end)


async def test_of_a_failed_job_the_last_dead_container_counts_init_containers_too() -> None:
    load = ended(64, Termination(reason="ModelUnusable", message="a pickle"), name="load-model")
    job = {"conditions": [{"type": "Failed", "status": "True", "lastTransitionTime": "2026-01-01T00:10:00Z", "message": "policy"}]}
    view = await seen(Canned(job, pod("Failed", initContainerStatuses=[load])))
    assert (view.state, view.exit_code, view.finished_at) == (JobState.FAILED, 64, "2026-01-01T00:10:00Z")
    assert view.termination is not None
    assert view.termination.message == "a pickle"


FILLED = 'Usage of EmptyDir volume "scratch" exceeds the limit "50Gi". '
"""The kubelet's words on a pod that it evicted for its volume; it gives such a pod no condition."""


@pytest.mark.parametrize("code", [137, 143])
async def test_a_pod_that_filled_its_disk_is_told_in_the_kubelets_words_and_not_as_one_out_of_memory(code: int) -> None:
    evicted = pod("Failed", reason="Evicted", message=FILLED, containerStatuses=[ended(code, at="2026-01-01T00:09:00Z")])
    before = pod("Failed", containerStatuses=[ended(69, Termination(reason="Unavailable", message="no"))])
    view = await seen(Canned(failed("BackoffLimitExceeded", "the limit"), before, evicted))
    assert (view.exit_code, view.disrupted) == (137, 0)
    assert why_failed(view) == f"Evicted: {FILLED.strip()}"


async def test_of_nodes_that_failed_together_the_one_that_filled_its_disk_tells_why() -> None:
    evicted = node(0, "Failed", ended(137, at="2026-01-01T00:00:09Z"))
    evicted["status"] |= {"reason": "Evicted", "message": FILLED}
    other = node(1, "Failed", ended(75, LOST, at="2026-01-01T00:00:07Z"))
    view = await seen(Together(failed("BackoffLimitExceeded"), evicted, other))
    assert why_failed(view) == f"Evicted: {FILLED.strip()}"


@pytest.mark.parametrize(
    ("code", "conditions", "words"),
    [(74, [], "DiskError: full"), (137, [{"type": "DisruptionTarget", "status": "True"}], "exit code 137: killed")],
)
async def test_an_eviction_is_not_why_where_the_worker_ended_by_itself_or_its_node_had_to_give_it_up(
    code: int, conditions: list[Manifest], words: str
) -> None:
    word = Termination(reason="DiskError", message="full") if code == 74 else None
    evicted = pod("Failed", reason="Evicted", message=FILLED, conditions=conditions, containerStatuses=[ended(code, word)])
    assert why_failed(await seen(Canned(failed("BackoffLimitExceeded"), evicted))).startswith(words)


async def test_a_word_that_is_not_ours_is_no_word() -> None:
    garbled = {"name": "main", "state": {"terminated": {"exitCode": 0, "message": json.dumps({"hello": 1})}}}
    job = {"conditions": [{"type": "Complete", "status": "True"}]}
    assert (await seen(Canned(job, pod("Succeeded", containerStatuses=[garbled])))).termination is None


async def test_a_job_that_kueue_holds_back_is_told_in_kueues_words() -> None:
    words = "couldn't assign flavors to pod set main: insufficient unused quota for nvidia.com/gpu in flavor a100, 4 more needed"
    assert (await seen(Queued({"type": "QuotaReserved", "status": "False", "message": words}))).waits == f"Kueue: {words}"


async def test_a_job_that_was_preempted_in_its_queue_says_so() -> None:
    evicted = {"type": "Evicted", "status": "True", "message": "Preempted to accommodate a higher priority workload"}
    assert (await seen(Queued(evicted))).waits == "Kueue: Preempted to accommodate a higher priority workload"


async def test_a_suspended_job_without_a_workload_asks_whether_its_queue_exists() -> None:
    assert "does its LocalQueue exist" in (await seen(Queued(None))).waits


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
            return {}

    cluster = Written({})
    observation = await observe(cluster, "research", "medical", NOON, 30)  # type: ignore[arg-type]
    assert observation
    plan = Plan(RunStatus(observed_generation=3))
    await act(cluster, observation.run, plan, NOON)  # type: ignore[arg-type]
    merged = {key: value for key, value in {**stored, **cluster.patch}.items() if value is not None}
    assert merged == wire(plan.status)


async def test_other_runs_jobs_of_the_same_stage_are_rivals() -> None:
    cluster = Rivals()
    observation = await observe(cluster, "research", "medical", NOON, 30)  # type: ignore[arg-type]
    assert observation
    assert [(job.run, job.stage) for job in observation.rivals] == [("legal", "elicit")]


async def test_preflight_has_no_rivals_though_it_is_labelled_alike_in_every_run() -> None:
    observation = await observe(Rivals("preflight"), "research", "medical", NOON, 30)  # type: ignore[arg-type]
    assert observation
    assert observation.rivals == ()


class Together(Canned):
    """A cluster that holds a training Job of two pods."""

    def __init__(self, job_status: Manifest, *pods: Manifest, **more: Any) -> None:
        super().__init__(job_status, *pods, **more)
        self._job["metadata"]["labels"] |= {f"{LABEL}/stage": "train", f"{LABEL}/kind": "train"}
        self._job["spec"] = {"completions": 2}

    async def log_tail(self, namespace: str, pod: str, container: str, lines: int) -> str:
        return f'{{"progress": {{"done": {len(pod)}, "total": 9}}}}'


LOST = Termination(reason="RankLost", message="rank 1 lost the other ranks")


def node(index: int, phase: str, *containers: Manifest, name: str = "p") -> Manifest:
    metadata = {"name": name, "labels": {"batch.kubernetes.io/job-completion-index": str(index)}}
    return {"metadata": metadata, "status": {"phase": phase, "containerStatuses": list(containers)}}


def failed(reason: str, message: str = "") -> Manifest:
    return {"conditions": [{"type": "Failed", "status": "True", "reason": reason, "message": message}]}


@pytest.mark.fault(58)
@pytest.mark.parametrize(
    ("first", "code", "words"),
    [
        (ended(64, Termination(reason="OutOfMemory", message="does not fit"), at="2026-01-01T00:00:09Z"), 64, "does not fit"),
        (ended(64, at="2026-01-01T00:00:09Z"), 64, None),
        (ended(137, at="2026-01-01T00:00:09Z"), 137, None),
        (ended(75, Termination(reason="RankHangs", message="no step"), at="2026-01-01T00:00:09Z"), 75, "no step"),
    ],
)
async def test_of_nodes_that_failed_together_the_one_tells_why_that_did_not_only_lose_another(
    first: Manifest, code: int, words: str | None
) -> None:
    other = ended(75, LOST, at="2026-01-01T00:00:07Z")
    for pods in ([node(0, "Failed", first), node(1, "Failed", other)], [node(0, "Failed", other), node(1, "Failed", first)]):
        view = await seen(Together(failed("BackoffLimitExceeded"), *pods))
        assert (view.whole, view.state, view.exit_code) == (True, JobState.FAILED, code)
        assert (view.termination.message if view.termination else None) == words


@pytest.mark.fault(58)
async def test_of_nodes_that_failed_together_a_refusal_tells_why_though_another_went_first() -> None:
    killed, refused = ended(137, at="2026-01-01T00:00:05Z"), ended(66, at="2026-01-01T00:00:09Z")
    view = await seen(Together(failed("BackoffLimitExceeded"), node(0, "Failed", refused), node(1, "Failed", killed)))
    assert view.exit_code == 66


@pytest.mark.fault(58)
async def test_of_nodes_that_all_lost_one_the_first_to_go_tells_why() -> None:
    early = ended(75, Termination(reason="RankLost", message="a rank was killed"), at="2026-01-01T00:00:05Z")
    late = ended(75, LOST, at="2026-01-01T00:00:07Z")
    view = await seen(Together(failed("BackoffLimitExceeded"), node(0, "Failed", late), node(1, "Failed", early)))
    assert view.termination is not None
    assert view.termination.message == "a rank was killed"


async def test_a_node_that_ends_without_a_word_hides_nothing_of_the_first_ones() -> None:
    sealed = ended(0, Termination(fingerprint="f", manifest_digest="d"), at="2026-01-01T00:00:01Z")
    silent = ended(0, at="2026-01-01T00:00:09Z")
    complete = {"conditions": [{"type": "Complete", "status": "True"}]}
    view = await seen(Together(complete, node(0, "Succeeded", sealed), node(1, "Succeeded", silent)))
    assert view.seal == "d"


async def test_a_training_works_when_all_its_nodes_do_and_until_then_it_waits() -> None:
    words = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    unplaced = node(1, "Pending") | {"status": {"phase": "Pending", "conditions": [_unplaced(words)]}}
    loading = {"phase": "Pending", "initContainerStatuses": [{"name": "load-model", "started": False, "state": {"running": {}}}]}
    for first in (node(0, "Running"), node(0, "Pending") | {"status": loading}):
        view = await seen(Together({}, first, unplaced))
        assert (view.state, view.waits) == (JobState.WAITING, words)
    assert (await seen(Together({}, node(0, "Running"), node(1, "Running")))).state is JobState.RUNNING


async def test_a_training_that_is_being_given_up_works_though_a_pod_of_it_is_gone() -> None:
    ending = {"conditions": [{"type": "FailureTarget", "status": "True", "reason": "PodFailurePolicy"}]}
    assert (await seen(Together(ending, node(0, "Running")))).state is JobState.RUNNING


async def test_progress_is_what_the_first_node_says() -> None:
    view = await seen(Together({}, node(1, "Running", name="p"), node(0, "Running", name="pod-0")))
    assert view.progress is not None
    assert view.progress.done == len("pod-0")


async def test_a_drain_that_failed_a_job_is_known_when_the_pod_is_gone() -> None:
    words = "Pod research/medical-train-0 has condition DisruptionTarget matching FailJob rule at index 0"
    view = await seen(Together(failed("PodFailurePolicy", words)))
    assert (view.disrupted, view.ended_by) == (1, "PodFailurePolicy")


def _unplaced(words: str) -> Manifest:
    return {"type": "PodScheduled", "status": "False", "message": words}


class Queued(Canned):
    """A cluster whose Job Kueue suspended; its Workload says why."""

    def __init__(self, condition: Manifest | None) -> None:
        super().__init__({})
        self._job["spec"] = {"suspend": True}
        self._workloads = [{"status": {"conditions": [condition]}}] if condition else []

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
