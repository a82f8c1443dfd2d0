"""One run, and everything that befalls it, one after another: it completes, and nothing that was committed is done twice.

The full matrix of faults is `tests/faults` and `tests/control`; here nodes, pods, engines and the store are real.
"""

from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.bucket import Bucket
from tests.e2e.cluster import Cluster, KubectlRefused, a_minute_passes, eventually, uids
from tests.e2e.faults import MEMORY_HOG, Commits, evict, kill, last_end, restarts
from tests.e2e.install import Installed, rollout
from tests.e2e.laptop import rows
from tests.e2e.notes import Notes
from tests.e2e.runs import NAMESPACE, Run, everything_of, quickstart

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3600)]

SMALL = {
    "rehearsal": {
        "reconstructed": {"count": 1500, "committee": {"responsesPerMember": 2, "members": [{"name": "base", "base": True}]}}
    },
    "training": {"epochs": 8, "checkpointMinutes": 0.1},
    "evaluation": {"tasks": []},
}
"""Three shards a stage, and one engine at a time."""
SLOWLY = {"platform": {"limits": {"concurrency": 4}}}
"""Few requests in flight, so that an engine is at a stage for long enough to be hit in the midst of it."""
SAMPLED = ("elicit", "respond-base", "judge-base")
Told = Callable[[str, str], None]


@pytest.fixture(scope="module")
def told(notes: Notes) -> Iterator[Told]:
    """Notes a fault and its outcome."""
    outcomes: list[tuple[str, str]] = []
    yield lambda fault, outcome: outcomes.append((fault, outcome))
    notes.table("Faults on the real cluster", ("fault", "outcome"), outcomes)


@pytest.fixture(scope="module")
def run(cluster: Cluster, installed: Installed, store: Bucket) -> Iterator[Run]:
    """The run that everything befalls."""
    installed.apply(SLOWLY)
    yield Run(cluster, quickstart("hit", seed=7, **SMALL)).apply()
    installed.apply({})


@pytest.fixture(scope="module")
def commits(run: Run, store: Bucket) -> Commits:
    """What it has committed."""
    return Commits(store, run)


@pytest.mark.fault(1)
def test_the_operator_s_pod_is_deleted_while_an_engine_loads(cluster: Cluster, installed: Installed, run: Run, told: Told) -> None:
    run.reaches("elicit has a pod", lambda: run.children("pods", "elicit"))
    before, operator = uids(run.children("jobs")), installed.operator()["metadata"]
    cluster.kubectl("delete", "pod", operator["name"], f"--namespace={installed.namespace}")
    rollout(cluster, installed.name, installed.namespace)
    assert installed.operator()["metadata"]["uid"] != operator["uid"]
    run.works_on("elicit")
    assert uids(run.children("jobs")) == before
    told("operator's pod deleted while elicit's engine loads", "the next pod goes on; no Job is created twice or lost")


@pytest.mark.fault(53)
def test_the_engine_is_killed_in_elicit(cluster: Cluster, run: Run, commits: Commits, told: Told) -> None:
    _own(cluster)
    (pod,) = run.works_on("elicit")
    commits.grow("elicit")
    kill(pod, "engine")
    run.reaches("elicit is done", lambda: run.stage("elicit").get("sealed"))
    (after,) = run.children("pods", "elicit")
    assert after["metadata"]["uid"] == pod["metadata"]["uid"]
    assert restarts(after, "engine") == 1
    assert commits.changed() == []
    told(
        "vLLM sidecar killed (SIGKILL) in elicit, a shard committed",
        "it is started again in its pod; the client repeats what it had asked",
    )


@pytest.mark.fault(53)
def test_the_engine_is_killed_for_memory_in_respond(cluster: Cluster, run: Run, commits: Commits, told: Told) -> None:
    (pod,) = run.works_on("respond-base")
    commits.grow("respond-base")
    with pytest.raises(KubectlRefused, match=r"137|terminated"):
        _python(cluster, pod["metadata"]["name"], MEMORY_HOG)
    run.reaches("respond is done", lambda: run.stage("respond-base").get("sealed"))
    ended = {last_end(each, "engine") for each in run.children("pods", "respond-base")}
    assert "OOMKilled" in ended
    assert commits.changed() == []
    told(
        "engine killed for memory (its limit) in respond",
        "OOMKilled, and started again in its pod; the client repeats what it had asked",
    )


def test_the_engine_s_pod_is_evicted_in_judge(cluster: Cluster, run: Run, commits: Commits, told: Told) -> None:
    (pod,) = run.works_on("judge-base")
    commits.grow("judge-base")
    evict(cluster, pod)
    run.reaches("another pod judges", lambda: uids(run.pods_at_work("judge-base")) - {pod["metadata"]["uid"]})
    (job,) = run.children("jobs", "judge-base")
    assert not job["status"].get("failed"), "a disruption costs no attempt"
    assert commits.changed() == []
    told(
        "engine's pod evicted (eviction API) in judge",
        "another pod takes the shards that were not committed; no attempt is counted",
    )


def test_the_kubelet_is_away_for_a_minute(cluster: Cluster, run: Run, commits: Commits, told: Told) -> None:
    _own(cluster)
    before, there = uids(run.works_on("judge-base")), uids(run.children("pods", "judge-base"))
    cluster.part("kubelet", "stop")
    a_minute_passes()
    cluster.part("kubelet", "start")
    cluster.kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=280s")
    run.reaches("judge is done", lambda: run.stage("judge-base").get("sealed"))
    assert before <= uids(run.children("pods", "judge-base")) <= there
    assert commits.changed() == []
    told("kubelet stopped for a minute in judge", "the pod goes on and is seen again; nothing is started anew")


@pytest.mark.fault(58)
def test_a_training_pod_is_deleted(cluster: Cluster, run: Run, commits: Commits, told: Told) -> None:
    pods = run.works_on("train", pods=2)
    commits.grow("train", "/seal.json")
    cluster.kubectl("delete", "pod", pods[-1]["metadata"]["name"], f"--namespace={NAMESPACE}", "--wait=false")
    run.reaches("the attempt has failed as a whole", lambda: run.stage("train").get("attempt", 0) >= 1)
    after = run.works_on("train", pods=2)
    assert not uids(after) & uids(pods)
    assert _goes_on_from(run, pods=2) >= commits.checkpoint("train")
    assert commits.changed() == []
    told(
        "a training pod deleted, a checkpoint sealed",
        f"both pods end, attempt {run.stage('train')['attempt'] + 1} goes on from the checkpoint",
    )


def test_the_run_is_suspended_and_resumed_in_train(run: Run, commits: Commits, told: Told) -> None:
    commits.grow("train", "/seal.json")
    run.patch({"suspend": True})
    eventually(lambda: run.is_("Suspended"), 300, "Suspended")
    eventually(lambda: not run.children("pods", "train"), 300, "no pod trains")
    assert not [job for job in run.children("jobs", "train") if not _ended(job)]
    run.patch({"suspend": False})
    run.works_on("train", pods=2)
    assert _goes_on_from(run, pods=2) >= commits.checkpoint("train")
    assert commits.changed() == []
    told("suspended and resumed in train", "Jobs and pods go at once; training goes on from the last sealed checkpoint")


@pytest.mark.fault(13)
def test_the_api_server_is_restarted_in_train(cluster: Cluster, installed: Installed, run: Run, told: Told) -> None:
    _own(cluster)
    pods, restarted = uids(run.works_on("train", pods=2)), restarts(installed.operator(), "operator")
    assert not run.stage("train").get("sealed")
    cluster.part("apiserver", "stop")
    cluster.part("apiserver", "start")
    run.reaches("train is done", lambda: run.stage("train").get("sealed"))
    assert restarts(installed.operator(), "operator") == restarted
    assert uids(run.children("pods", "train")) == pods
    told("API server restarted in train", "the operator stays up and goes on; no pod is touched")


def test_it_completes_and_nothing_that_was_committed_was_done_twice(
    run: Run, commits: Commits, store: Bucket, tmp_path, told: Told
) -> None:
    run.completes()
    assert commits.changed() == []
    store.download(f"{NAMESPACE}/", tmp_path)
    for stage in SAMPLED:
        output = run.stage(stage)["output"].removeprefix(f"{NAMESPACE}/")
        counted = Counter(str(row["id"]) for row in rows(tmp_path / NAMESPACE, output))
        assert set(counted.values()) == {1}, stage
    told(
        "in the end",
        f"Complete; of {len(commits.seen)} shards, outputs and checkpoints none was written twice, no row is there twice",
    )


@pytest.mark.fault(16)
def test_a_run_deleted_at_work_leaves_no_child_and_all_that_it_stored(
    cluster: Cluster, run: Run, commits: Commits, told: Told
) -> None:
    other = Run(cluster, quickstart("gone", seed=8, **SMALL)).apply()
    other.works_on("elicit")
    for each in (other, run):
        each.delete()
        eventually(lambda name=each.name: not everything_of(cluster, NAMESPACE, name), 300, f"no child of {each.name} is left")
    stored = set(commits.bucket.keys(f"{NAMESPACE}/"))
    assert commits.seen.keys() <= stored
    told("the run deleted, at work and complete", "Jobs, pods and Services go; artifacts stay")


def _python(cluster: Cluster, pod: str, program: str) -> str:
    return cluster.exec(NAMESPACE, pod, "engine", "python3", "-I", "-S", "-c", program)


def _ended(job: dict) -> bool:
    return any(
        each["type"] in ("Complete", "Failed") and each["status"] == "True" for each in job["status"].get("conditions") or []
    )


def _own(cluster: Cluster) -> None:
    if not cluster.one_node:
        pytest.skip("needs to stop a part of the cluster, and KUBECONFIG names one that is not ours")


def _goes_on_from(run: Run, pods: int) -> int:
    """The step from which all pods that train go on: a checkpoint's."""
    words = "going on from the checkpoint at step"
    said = run.reaches(words, lambda: found if len(found := run.says("train", words)) >= pods else [])
    (step,) = {int(each) for each in said}
    return step
