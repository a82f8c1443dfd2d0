"""Why a run waits, in one plain line within a minute: the words of whoever holds its pods up, and on it goes once that is mended."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest

from rehearsal.api.status import StageStatus, State
from tests.control.access import Access, Manifest, Refused
from tests.control.given import Plane
from tests.control.operator_process import Operator, eventually
from tests.control.player import Player
from tests.control.story import Seals, a_measured_run, a_short_run, all_goes_well, jobs_of, only, stage_of, status_of, wait_for

pytestmark = pytest.mark.control

NO_GPU = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
NO_VOLUME = "0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims."
NO_IMAGE = 'failed to pull and unpack image "rehearsal/operator": not found'
BACK_OFF = 'Back-off pulling image "rehearsal/operator"'
NO_SECRET = 'secret "s3-credentials" not found'
POLICIES = "/apis/admissionregistration.k8s.io/v1"


@pytest.mark.fault(24)
async def test_what_scheduler_and_kubelet_say_of_a_pod_is_what_the_run_says(
    served: Plane, namespace: str, operator: Operator, player: Player
) -> None:
    served.apply([a_short_run(namespace)])
    pod = await player.pod_of("preflight")
    for words in (NO_GPU, NO_VOLUME):
        await player.unschedulable(pod, words)
        await eventually(says(served, namespace, "preflight", words), 60, words)
    waiting = (
        ("ErrImagePull", NO_IMAGE),
        ("ImagePullBackOff", BACK_OFF),
        ("CreateContainerConfigError", NO_SECRET),
    )
    for reason, words in waiting:
        await player.wait_on(pod, reason, words)
        await eventually(says(served, namespace, "preflight", f"{reason}: {words}"), 60, words)
    condition = status_of(served, namespace).condition("Reconciling")
    assert condition
    assert (condition.status, condition.reason) == ("True", "Waiting")
    assert condition.message == f"preflight: CreateContainerConfigError: {NO_SECRET}"
    assert served.kubectl("get", "recon", "--no-headers", f"--namespace={namespace}").rstrip().endswith(condition.message)

    async with player.playing(all_goes_well(player)):
        status = await wait_for(served, namespace, "Complete")
    assert [stage.message for stage in status.stages] == [""] * 4
    assert [stage.attempt for stage in status.stages] == [0] * 4


@pytest.mark.fault(66)
async def test_a_missing_service_account_is_named_and_the_run_goes_on_once_it_is_there(
    served: Plane, namespace: str, operator: Operator, player: Player
) -> None:
    account = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    served.request("DELETE", f"{account}/rehearsal-worker")
    served.apply([a_short_run(namespace)])
    words = f'error looking up service account {namespace}/rehearsal-worker: serviceaccount "rehearsal-worker" not found'
    await eventually(says(served, namespace, "preflight", words), 60, "the missing account is named")
    served.request("POST", account, {"metadata": {"name": "rehearsal-worker"}})
    await goes_on(served, namespace, player, "medical")


@pytest.mark.fault(24)
@pytest.mark.fault(66)
async def test_a_quota_and_a_policy_that_refuse_pods_are_quoted_and_the_runs_go_on_once_they_are_mended(
    served: Plane, namespace: str, operator: Operator, player: Player
) -> None:
    quotas = f"/api/v1/namespaces/{namespace}/resourcequotas"
    quota = {"metadata": {"name": "gpus"}, "spec": {"hard": {"requests.nvidia.com/gpu": "0"}}}
    served.request("POST", quotas, quota)
    early = only(Seals().script(player), "preflight", "mix")
    async with player.playing(early), no_pods_of(served, namespace, "unwanted"):
        served.apply([a_short_run(namespace, "greedy"), a_short_run(namespace, "unwanted", seed=7)])
        refused = says(served, namespace, "preflight", "pods of this run are not wanted here", "unwanted")
        exceeded = says(served, namespace, "train", "exceeded quota: gpus, requested: requests.nvidia.com/gpu=8", "greedy")
        await eventually(refused, 60, "the policy is quoted")
        await eventually(exceeded, 60, "the quota is quoted")
        condition = status_of(served, namespace, "greedy").condition("Reconciling")
        assert condition
        assert condition.reason == "Waiting"
        assert condition.message.startswith("train: Error creating: pods ")
    served.request("DELETE", f"{quotas}/gpus")
    await goes_on(served, namespace, player, "greedy", "unwanted")


@pytest.mark.fault(66)
async def test_a_job_that_kueue_holds_back_says_why_and_is_kueues_to_release(
    served: Plane, namespace: str, operator: Operator, player: Player
) -> None:
    with kueue(served):
        served.apply([a_short_run(namespace, queueName="team")])
        pod = await player.pod_of("preflight")
        job = f"/apis/batch/v1/namespaces/{namespace}/jobs/{pod.job}"
        found = served.request("GET", job)["metadata"]
        assert found["labels"]["kueue.x-k8s.io/queue-name"] == "team"
        served.request("PATCH", job, {"spec": {"suspend": True}})
        words = "the Job is suspended and has no Kueue Workload: does its LocalQueue exist, and does Kueue run?"
        await eventually(says(served, namespace, "preflight", words), 60, "there is no Workload")

        full = "couldn't assign flavors to pod set main: insufficient unused quota for cpu in flavor default, 1 more needed"
        served.request("POST", f"/apis/kueue.x-k8s.io/v1beta2/namespaces/{namespace}/workloads", workload(found["uid"], full))
        served.request("PATCH", job, {"metadata": {"annotations": {"a-touch": "wakes its run"}}})
        await eventually(says(served, namespace, "preflight", f"Kueue: {full}"), 60, "Kueue is quoted")
        condition = status_of(served, namespace).condition("Reconciling")
        assert condition
        assert (condition.reason, condition.message) == ("Waiting", f"preflight: Kueue: {full}")

        fields = served.request("GET", job)["metadata"]["managedFields"]
        assert not [each for each in fields if "rehearsal" in each["manager"] and "f:suspend" in each["fieldsV1"].get("f:spec", {})]
        assert operator.metric("rehearsal_api_calls_total", verb="patch", kind="Job") == 0
        served.request("PATCH", job, {"spec": {"suspend": False}})
        async with player.playing(all_goes_well(player)):
            await wait_for(served, namespace, "Complete")
    assert {job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] for job in jobs_of(served, namespace)} == {"team"}


@pytest.mark.fault(69)
async def test_while_no_job_is_taken_what_was_seen_is_recorded_and_each_stage_says_what_the_api_server_says(
    served: Plane, namespace: str, operator: Operator, player: Player
) -> None:
    quotas = f"/api/v1/namespaces/{namespace}/resourcequotas"
    served.apply([a_measured_run(namespace)])
    await player.run(pod := await player.pod_of("preflight"))
    with webhook_that_is_down(served, namespace):
        await eventually(lambda: "failed calling webhook" in refusal_of(served, namespace), 60, "the webhook is in force")
        await all_goes_well(player)(pod)
        for stage in ("mix", "evaluate-base"):
            await eventually(says(served, namespace, stage, "failed calling webhook"), 60, f"{stage} quotes the webhook's failure")
        status = status_of(served, namespace)
        assert status.inputs
        assert "failed calling webhook" in served.kubectl("get", "recon", "--no-headers", f"--namespace={namespace}")
        served.request("POST", quotas, {"metadata": {"name": "objects"}, "spec": {"hard": {"count/jobs.batch": "2"}}})
    async with player.playing(only(all_goes_well(player), "mix")):
        await eventually(lambda: stage_of(served, namespace, "mix").state is State.SUCCEEDED, 60, "mix goes on")
        await eventually(lambda: bool(over_quota(served, namespace)), 60, "a stage quotes the quota")
        assert {stage.blocked for stage in over_quota(served, namespace)} == {"Forbidden"}
    condition = status_of(served, namespace).condition("Stalled")
    assert condition
    assert (condition.status, condition.reason) == ("True", "Forbidden")
    served.request("DELETE", f"{quotas}/objects")
    async with player.playing(all_goes_well(player)):
        status = await wait_for(served, namespace, "Complete")
    assert {stage.message for stage in status.stages} == {""}


def over_quota(plane: Plane, namespace: str) -> list[StageStatus]:
    return [stage for stage in status_of(plane, namespace).stages if "exceeded quota: objects" in stage.message]


def refusal_of(plane: Plane, namespace: str) -> str:
    """What the API server says to a Job, of which nothing comes in any case."""
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}
    job = {"metadata": {"name": "probe"}, "spec": {"template": template}}
    try:
        plane.request("POST", f"/apis/batch/v1/namespaces/{namespace}/jobs?dryRun=All", job)
    except Refused as refusal:
        return str(refusal)
    return ""


@contextmanager
def webhook_that_is_down(access: Access, namespace: str) -> Iterator[None]:
    """A cluster whose Jobs pass by somebody who does not answer, as Kueue's while it is away."""
    name, path = f"down.{namespace}.test", "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    webhook = {
        "name": name,
        "clientConfig": {"url": "https://127.0.0.1:1/jobs"},
        "rules": [{"apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["jobs"]}],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    access.request("POST", path, {"metadata": {"name": name}, "webhooks": [webhook]})
    try:
        yield
    finally:
        access.request("DELETE", f"{path}/{name}")


def says(plane: Plane, namespace: str, stage: str, words: str, run: str = "medical") -> Callable[[], bool]:
    """Whether a stage that waits says so in these words."""

    def holds() -> bool:
        entry = stage_of(plane, namespace, stage, run)
        return entry.state is State.WAITING and words in entry.message and "\n" not in entry.message

    return holds


async def goes_on(plane: Plane, namespace: str, player: Player, *runs: str) -> None:
    """Complete the runs. The Job controller waits ever longer between two tries: a touch brings the next one forward."""
    for job in jobs_of(plane, namespace):
        path = f"/apis/batch/v1/namespaces/{namespace}/jobs/{job['metadata']['name']}"
        plane.request("PATCH", path, {"metadata": {"annotations": {"a-touch": "is an update"}}})
    async with player.playing(all_goes_well(player)):
        for run in runs:
            status = await wait_for(plane, namespace, "Complete", run)
            assert [stage.attempt for stage in status.stages] == [0] * 4


@asynccontextmanager
async def no_pods_of(access: Access, namespace: str, run: str) -> AsyncIterator[None]:
    """A cluster's policy that refuses the pods of one run."""
    name = f"no-pods-{namespace}"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    where = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    match = {**where, "objectSelector": {"matchLabels": {"rehearsal.dev/run": run}}, "resourceRules": [rule]}
    validation = {"expression": "false", "message": "pods of this run are not wanted here"}
    policy = {"metadata": {"name": name}, "spec": {"matchConstraints": match, "validations": [validation]}}
    binding = {"metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}}
    access.request("POST", f"{POLICIES}/validatingadmissionpolicies", policy)
    access.request("POST", f"{POLICIES}/validatingadmissionpolicybindings", binding)
    try:
        await eventually(lambda: refuses(access, namespace, run), 60, "the policy is in force")
        yield
    finally:
        access.request("DELETE", f"{POLICIES}/validatingadmissionpolicybindings/{name}")
        access.request("DELETE", f"{POLICIES}/validatingadmissionpolicies/{name}")
    # The API server looks for policies once a second, and a Job that is refused once more is not tried again for up to a minute.
    await eventually(lambda: not refuses(access, namespace, run), 60, "the policy is no longer in force")


def refuses(access: Access, namespace: str, run: str) -> bool:
    """Whether the policy is in force."""
    confined = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    confined |= {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {"serviceAccountName": "rehearsal-worker", "containers": [{"name": "c", "image": "i", "securityContext": confined}]}
    pod = {"metadata": {"name": "probe", "labels": {"rehearsal.dev/run": run}}, "spec": spec}
    try:
        access.request("POST", f"/api/v1/namespaces/{namespace}/pods?dryRun=All", pod)
    except Refused as refusal:
        return "not wanted here" in str(refusal)
    return False


@contextmanager
def kueue(access: Access) -> Iterator[None]:
    """A cluster that serves Kueue's Workloads; nobody acts on them."""
    names = {"kind": "Workload", "plural": "workloads", "singular": "workload"}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1beta2", "served": True, "storage": True, "schema": schema}
    spec = {"group": "kueue.x-k8s.io", "names": names, "scope": "Namespaced", "versions": [version]}
    name = "workloads.kueue.x-k8s.io"
    access.apply(
        [{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": name}, "spec": spec}]
    )
    try:
        yield
    finally:
        access.kubectl("delete", "crd", name, "--timeout=120s")


def workload(job_uid: str, why: str) -> Manifest:
    """A Workload as Kueue makes one of a Job, pending."""
    pending = {"type": "QuotaReserved", "status": "False", "reason": "Pending", "message": why}
    return {
        "apiVersion": "kueue.x-k8s.io/v1beta2",
        "kind": "Workload",
        "metadata": {"name": "job-preflight", "labels": {"kueue.x-k8s.io/job-uid": job_uid}},
        "status": {"conditions": [pending]},
    }
