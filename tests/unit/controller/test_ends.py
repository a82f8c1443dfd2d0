"""How a Job ended, and why, as told from the pods that it left."""

import json

import pytest

from rehearsal.api.messages import Termination
from rehearsal.api.status import StageStatus, State
from rehearsal.controller.attempts import followed
from rehearsal.controller.jobs import JobState
from rehearsal.controller.ledger import why_failed
from tests.unit.controller.canned import Canned, Manifest, Together, ended, failed, node, pod, seen

LOST = Termination(reason="RankLost", message="rank 1 lost the other ranks")


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


LOW = "The node was low on resource: ephemeral-storage. Threshold quantity: 10Gi, available: 7Gi. "
BY_KUBELET = {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet", "message": LOW}


def taken(index: int, condition: Manifest, *containers: Manifest, **status: str) -> Manifest:
    """A pod that others ended, of one index."""
    found = node(index, "Failed", *containers)
    found["status"] |= {"conditions": [condition], **status}
    return found


class ByIndex(Canned):
    """A cluster that holds a Job whose indexes have two retries each."""

    def __init__(self, *pods: Manifest) -> None:
        super().__init__({}, *pods)
        self._job["spec"] = {"completions": 4, "backoffLimitPerIndex": 2, "maxFailedIndexes": 0}


@pytest.mark.fault(72)
@pytest.mark.parametrize("containers", [[], [ended(137)]], ids=["no container had started", "main was killed"])
async def test_pods_of_one_index_that_the_kubelet_evicted_too_often_make_a_job_hopeless(containers: list[Manifest]) -> None:
    evicted = [taken(0, BY_KUBELET, *containers, reason="Evicted", message=LOW)] * 2
    dead = node(0, "Failed", ended(75))
    assert (await seen(ByIndex(*evicted))).state is JobState.RUNNING
    assert (await seen(ByIndex(*evicted, taken(1, BY_KUBELET, reason="Evicted", message=LOW)))).state is JobState.RUNNING
    view = await seen(ByIndex(*evicted, dead))
    assert (view.state, view.hopeless, view.exit_code, view.evicted, view.disrupted) == (JobState.FAILED, True, 137, 2, 0)
    assert why_failed(view) == f"Evicted: {LOW.strip()} (3 pods of one replica failed or were evicted)"


@pytest.mark.fault(72)
@pytest.mark.parametrize(
    ("condition", "status"),
    [
        (BY_KUBELET | {"message": "Pod was terminated in response to imminent node shutdown."}, {"reason": "Terminated"}),
        (BY_KUBELET | {"message": "Pod was preempted by Kubelet to accommodate a critical pod."}, {"reason": "Preempting"}),
        (BY_KUBELET | {"reason": "PreemptionByScheduler"}, {}),
        (BY_KUBELET | {"reason": "DeletionByTaintManager"}, {"reason": "Evicted"}),
        (BY_KUBELET | {"reason": "EvictionByEvictionAPI"}, {}),
    ],
)
async def test_a_shutdown_a_drain_and_a_preemption_cost_no_retry_and_are_kept_in_their_own_words(
    condition: Manifest, status: Manifest
) -> None:
    view = await seen(ByIndex(*[taken(0, condition, ended(137), **status)] * 9))
    assert (view.state, view.evicted, view.disrupted) == (JobState.RUNNING, 0, 9)
    assert view.last_disruption is not None
    assert (view.last_disruption.reason, view.last_disruption.message) == (condition["reason"], condition["message"].strip())


async def test_of_pods_that_were_taken_away_the_last_one_is_told_while_none_is_at_work() -> None:
    early = taken(0, BY_KUBELET | {"lastTransitionTime": "2026-01-01T00:00:01Z"}, reason="Evicted", message=LOW)
    drain = {"reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting", "lastTransitionTime": "2026-01-01T00:00:09Z"}
    pods = [taken(1, BY_KUBELET | drain), early]
    assert (await seen(ByIndex(*pods))).waits == "its last pod was taken away: EvictionByEvictionAPI: Eviction API: evicting"
    assert (await seen(ByIndex(*pods, node(2, "Pending")))).waits == ""


@pytest.mark.fault(72)
async def test_a_node_of_several_that_was_evicted_before_it_said_a_word_has_failed_and_its_attempt_may_do_better() -> None:
    words = "Pod research/medical-train-0 has condition DisruptionTarget matching FailJob rule at index 0"
    view = await seen(Together(failed("PodFailurePolicy", words), taken(0, BY_KUBELET, reason="Evicted", message=LOW)))
    assert (view.disrupted, view.evicted) == (0, 1)
    before = StageStatus(name="train", state=State.RUNNING)
    after = followed(before, before.model_copy(update={"state": State.FAILED, "message": why_failed(view)}), view, 6)
    assert after.retries is not None
    assert (after.retries.failed, after.retries.disrupted, after.retries.last) == (1, 0, f"Evicted: {LOW}")


async def test_a_word_that_is_not_ours_is_no_word() -> None:
    garbled = {"name": "main", "state": {"terminated": {"exitCode": 0, "message": json.dumps({"hello": 1})}}}
    job = {"conditions": [{"type": "Complete", "status": "True"}]}
    assert (await seen(Canned(job, pod("Succeeded", containerStatuses=[garbled])))).termination is None


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


async def test_a_drain_that_failed_a_job_is_known_when_the_pod_is_gone() -> None:
    words = "Pod research/medical-train-0 has condition DisruptionTarget matching FailJob rule at index 0"
    view = await seen(Together(failed("PodFailurePolicy", words)))
    assert (view.disrupted, view.ended_by) == (1, "PodFailurePolicy")


async def test_a_pod_that_its_node_refused_is_told_in_the_kubelets_words() -> None:
    words = "Pod was rejected: Allocate failed due to no healthy devices present; cannot allocate unhealthy devices nvidia.com/gpu"
    refused = pod("Failed", reason="UnexpectedAdmissionError", message=words)
    assert (
        why_failed(await seen(Canned(failed("BackoffLimitExceeded", "the limit"), refused))) == f"UnexpectedAdmissionError: {words}"
    )


async def test_a_pod_that_was_told_to_end_and_left_no_word_is_not_gone() -> None:
    told = why_failed(
        await seen(Canned(failed("BackoffLimitExceeded", "the limit"), pod("Failed", containerStatuses=[ended(143)])))
    )
    assert told == "the limit"


async def test_pods_that_are_gone_and_left_no_word_are_told_to_be_gone() -> None:
    over = "Job has reached the specified backoff limit"
    told = why_failed(await seen(Together(failed("BackoffLimitExceeded", over))))
    assert told == f"its pods are gone without a word: deleted, or lost with their node. {over}"
