"""How a Job ended, and why, as told from the pods that it left."""

import json

import pytest

from rehearsal.api.messages import Termination
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
