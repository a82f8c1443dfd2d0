import pytest

from rehearsal.cluster.job_status import action_on, decide
from rehearsal.cluster.stamps import stamp
from tests.unit.cluster.pods import at, disrupted, failed, job, pod, succeeded

POLICY = {
    "rules": [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": {"containerName": "main", "operator": "In", "values": [64, 65]}},
    ]
}


def ended(step):
    (condition,) = step.status["conditions"]
    return condition["type"], condition["reason"]


def test_a_new_job_starts_its_pod_and_its_clock():
    step = decide(job(), [], at(5), 1)
    assert step.start == (0,)
    assert step.status["startTime"] == stamp(at(5))
    assert step.status["conditions"] == []


def test_a_job_with_its_pod_running_waits():
    step = decide(job(), [pod()], at(5), 1)
    assert (step.start, step.end_pods, step.wake) == ((), False, None)
    assert step.status["active"] == 1


@pytest.mark.parametrize(
    ("pods", "start"),
    [
        ([], (0, 1)),
        ([pod(index=0)], (1,)),
        ([succeeded(index=0), pod(index=1)], (2,)),
        ([succeeded(index=0), succeeded(index=1), failed(index=2, end=-9)], (2, 3)),
        ([pod(index=0), pod(index=1)], ()),
    ],
)
def test_the_lowest_missing_indexes_start_as_many_as_may_run_at_once(pods, start):
    assert decide(job(completionMode="Indexed", completions=4, parallelism=2), pods, at(5), 1).start == start


def test_without_indexes_successes_are_counted():
    spec = {"completions": 3, "parallelism": 3}
    assert decide(job(**spec), [succeeded(), pod()], at(5), 1).start == (0,)
    assert ended(decide(job(**spec), [succeeded()] * 3, at(5), 1)) == ("Complete", "CompletionsReached")


def test_a_complete_job_names_its_indexes_in_short():
    done = [succeeded(index=index) for index in (0, 1, 2, 4)]
    step = decide(job(completionMode="Indexed", completions=6, parallelism=6), [*done, pod(index=5)], at(5), 1)
    assert step.status["completedIndexes"] == "0-2,4"


def test_a_fatal_exit_code_ends_the_other_pods_before_the_job_has_failed():
    spec = {"completionMode": "Indexed", "completions": 2, "parallelism": 2, "podFailurePolicy": POLICY}
    step = decide(job(**spec), [failed(64, index=0), pod(index=1)], at(5), 1)
    assert step.end_pods and [condition["type"] for condition in step.status["conditions"]] == ["FailureTarget"]
    assert ended(decide(job(**spec), [failed(64, index=0)], at(5), 1)) == ("Failed", "PodFailurePolicy")


def test_a_failure_that_was_decided_upon_stands_though_its_pod_is_gone():
    spec = {"completionMode": "Indexed", "completions": 2, "parallelism": 2, "backoffLimit": 0}
    decided = decide(job(**spec), [failed(75, index=0), pod(index=1)], at(5), 1).status
    assert decide(job(decided, **spec), [pod(index=1)], at(9), 1).status["conditions"] == decided["conditions"]
    step = decide(job(decided, **spec), [], at(9), 1)
    assert (ended(step), step.start) == (("Failed", "BackoffLimitExceeded"), ())


def test_the_first_rule_that_matches_decides():
    policed = job(podFailurePolicy=POLICY)
    assert action_on(policed, failed(64, conditions=[{"type": "DisruptionTarget", "status": "True"}]))[0] == "Ignore"
    assert action_on(policed, failed(65))[0] == "FailJob"
    assert action_on(policed, failed(70)) == ("Count", "")


def test_a_rule_for_another_container_does_not_match():
    sidecar = {"initContainerStatuses": [{"name": "engine", "state": {"terminated": {"exitCode": 64}}}]}
    assert action_on(job(podFailurePolicy=POLICY), failed(70, **sidecar))[0] == "Count"


def test_not_in_matches_every_other_failure():
    rule = {"action": "FailJob", "onExitCodes": {"operator": "NotIn", "values": [69, 70]}}
    policed = job(podFailurePolicy={"rules": [rule]})
    assert action_on(policed, failed(70))[0] == "Count"
    assert action_on(policed, failed(1))[0] == "FailJob"


def test_failures_beyond_the_limit_fail_the_job():
    assert decide(job(backoffLimit=2), [failed()] * 2, at(99), 1).start == (0,)
    assert ended(decide(job(backoffLimit=2), [failed()] * 3, at(99), 1)) == ("Failed", "BackoffLimitExceeded")


BY_INDEX = {
    "completionMode": "Indexed",
    "completions": 3,
    "parallelism": 3,
    "backoffLimitPerIndex": 2,
    "maxFailedIndexes": 0,
    "podFailurePolicy": POLICY,
}


@pytest.mark.fault(73)
def test_failures_of_different_indexes_are_not_added_up():
    pods = [failed(75, index=index) for index in (0, 1, 2) for _ in range(2)]
    step = decide(job(**BY_INDEX), pods, at(99), 1)
    assert (step.start, step.status["failed"], step.status["conditions"]) == ((0, 1, 2), 6, [])


@pytest.mark.fault(73)
def test_an_index_that_failed_too_often_fails_the_job_when_the_other_pods_have_ended():
    worn_out = [failed(75, index=1)] * 3
    step = decide(job(**BY_INDEX), [*worn_out, pod(index=0)], at(99), 1)
    assert step.end_pods
    step = decide(job(**BY_INDEX), worn_out, at(99), 1)
    assert (ended(step), step.status["failedIndexes"]) == (("Failed", "MaxFailedIndexesExceeded"), "1")


@pytest.mark.fault(73)
def test_each_index_has_a_pause_of_its_own_that_disruptions_lengthen_too():
    pods = [failed(index=0, end=10), disrupted(index=1, end=9), disrupted(index=1, end=10), succeeded(index=2, end=10)]
    step = decide(job(**BY_INDEX), pods, at(10.5), 1)
    assert (step.start, step.wake) == ((), at(11))
    step = decide(job(**BY_INDEX), pods, at(11), 1)
    assert (step.start, step.wake) == ((0,), at(12))
    assert "failed" not in decide(job(**BY_INDEX), pods[1:], at(12), 1).status


def test_a_disruption_is_neither_counted_nor_waited_for():
    step = decide(job(backoffLimit=0, podFailurePolicy=POLICY), [disrupted(end=5)] * 9, at(5), 1)
    assert step.start == (0,)
    assert "failed" not in step.status


def test_each_failure_in_a_row_doubles_the_pause():
    one, two = [failed(end=10)], [failed(end=8), failed(end=10)]
    assert decide(job(), one, at(10.9), 1).wake == at(11)
    assert decide(job(), one, at(11), 1).start == (0,)
    assert decide(job(), two, at(11.9), 1).wake == at(12)
    assert decide(job(backoffLimit=99), [failed(end=10)] * 50, at(11), 1).wake == at(70)


def test_a_success_ends_the_row():
    spec = {"completions": 4, "parallelism": 1}
    step = decide(job(**spec), [failed(end=5), failed(end=6), succeeded(end=7), failed(end=10)], at(10.5), 1)
    assert step.wake == at(11)


def test_a_job_over_its_deadline_fails_once_its_pods_have_ended():
    late = job(status={"startTime": stamp(at(0))}, activeDeadlineSeconds=60)
    assert decide(late, [pod()], at(59), 1).wake == at(60)
    assert decide(late, [pod()], at(60), 1).end_pods
    assert ended(decide(late, [], at(60), 1)) == ("Failed", "DeadlineExceeded")


def test_a_finished_job_is_left_alone_until_its_time_has_come():
    complete = {"type": "Complete", "status": "True", "lastTransitionTime": stamp(at(10))}
    status = {"conditions": [complete], "succeeded": 1}
    assert decide(job(status=status), [failed()] * 9, at(99), 1).status == status
    kept = decide(job(status=status, ttlSecondsAfterFinished=30), [], at(39), 1)
    assert (kept.expired, kept.wake) == (False, at(40))
    assert decide(job(status=status, ttlSecondsAfterFinished=30), [], at(40), 1).expired
