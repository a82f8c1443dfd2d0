"""Training on two nodes at a real API server and Job controller: one Job, one Service, and attempts that fail as a whole."""

import asyncio

import pytest

from rehearsal.api.messages import ExitCode
from rehearsal.api.status import State
from tests.control.access import Manifest
from tests.control.given import Plane
from tests.control.operator_process import Operator, eventually
from tests.control.player import Player
from tests.control.pod_status import Pod
from tests.control.story import SHORT, Seals, a_short_run, all_goes_well, jobs_of, only, stage_of, wait_for

pytestmark = pytest.mark.control

TOGETHER = {"training": {"nodes": 2, "processesPerNode": 1}}
NO_GPU = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."


async def ordered(seals: Seals, player: Player, other_than: str = "") -> tuple[Pod, Pod]:
    """Do what comes before, and return the two pods of training, of another Job than that one."""
    async with player.playing(only(seals.script(player), "preflight", "mix")), asyncio.timeout(120):
        while len(pods := [pod for pod in player.pods("train") if pod.job != other_than]) < 2:
            await asyncio.sleep(0.05)
    first, second = pods
    return first, second


async def training(seals: Seals, player: Player, other_than: str = "") -> tuple[Pod, Pod]:
    """Do what comes before, and return the two pods of training, which run; of another Job than that one."""
    first, second = await ordered(seals, player, other_than)
    for pod in (first, second):
        await player.run(pod)
    return first, second


async def finish(seals: Seals, player: Player, first: Pod, second: Pod) -> None:
    """End two nodes as their workers do: the first one seals and says so, the other is silent."""
    await player.finish(second)
    await seals.finish(player, first)


def services(plane: Plane, namespace: str) -> list[Manifest]:
    return list(plane.request("GET", f"/api/v1/namespaces/{namespace}/services")["items"])


def environment(pod: Pod) -> dict[str, str]:
    return {each["name"]: each.get("value", "") for each in pod.manifest["spec"]["containers"][0]["env"]}


@pytest.mark.fault(58)
async def test_two_nodes_find_each_other_by_the_runs_service_and_seal_once(
    served: Plane, namespace: str, operator: Operator, player: Player
) -> None:
    seals = Seals()
    served.apply([a_short_run(namespace, **TOGETHER)])
    first, second = await training(seals, player)
    (service,) = services(served, namespace)
    assert service["spec"]["selector"].items() <= first.labels.items()
    name = f"{first.manifest['spec']['hostname']}.{first.manifest['spec']['subdomain']}"
    assert name == f"{first.job}-0.{service['metadata']['name']}"
    assert [(first.index, second.index), second.job] == [(0, 1), first.job]
    for pod in (first, second):
        assert (environment(pod)["MASTER_ADDR"], environment(pod)["MASTER_PORT"]) == (name, "29500")
    player.log(second, '{"progress": {"done": 3, "total": 60, "unit": "steps"}}\n')
    player.log(first, '{"progress": {"done": 30, "total": 60, "unit": "steps"}}\n')
    await eventually(lambda: stage_of(served, namespace, "train").done == 30, 60, "the first node's figures are told")

    await finish(seals, player, first, second)
    async with player.playing(all_goes_well(player)):
        await wait_for(served, namespace, "Complete")
    assert sorted(job["metadata"]["labels"]["rehearsal.dev/stage"] for job in jobs_of(served, namespace)) == sorted(SHORT)
    assert stage_of(served, namespace, "train").sealed
    assert operator.metric("rehearsal_errors_total") == 0
    served.kubectl("delete", "reconstructionrun/medical", f"--namespace={namespace}")
    await eventually(lambda: not services(served, namespace), 60, "the Service goes with its run")


@pytest.mark.fault(58)
@pytest.mark.parametrize(
    ("drained", "words", "counted"),
    [
        (False, "attempt 2 of 3 is next; the last one ended: exit code 137: killed", (1, 0)),
        (True, "attempt 1 of 3 is next; the last one ended: a pod was drained or preempted", (0, 1)),
    ],
    ids=["killed", "drained"],
)
async def test_a_pod_that_is_lost_ends_the_attempt_and_the_next_one_begins_when_both_are_gone(
    served: Plane, namespace: str, operator: Operator, player: Player, drained: bool, words: str, counted: tuple[int, int]
) -> None:
    seals = Seals()
    served.apply([a_short_run(namespace, **TOGETHER)])
    first, second = await training(seals, player)
    await eventually(lambda: stage_of(served, namespace, "train").state is State.RUNNING, 60, "train runs")
    if drained:
        await player.disrupt(second)
    else:
        await player.finish(second, ExitCode.KILLED)
    # It says so for ten seconds only, from before the other pod is gone.
    await eventually(lambda: stage_of(served, namespace, "train").message.startswith(words), 60, words)
    assert stage_of(served, namespace, "train").state is State.WAITING
    await player.gone(first)

    again = await training(seals, player, first.job)
    assert not {pod.uid for pod in again} & {first.uid, second.uid}
    assert not [pod for pod in player.pods("train") if pod.job == first.job]
    await finish(seals, player, *again)
    async with player.playing(all_goes_well(player)):
        await wait_for(served, namespace, "Complete")
    entry = stage_of(served, namespace, "train")
    assert entry.attempt == 1
    assert entry.retries
    assert (entry.retries.failed, entry.retries.disrupted) == counted
    assert len(services(served, namespace)) == 1
    told = served.kubectl("get", "events", f"--namespace={namespace}", "--field-selector=reason=AttemptFailed")
    assert f"train: {words.partition('ended: ')[2]}" in told


@pytest.mark.fault(58)
async def test_a_drained_pod_that_is_gone_before_the_job_has_failed_costs_no_attempt(
    served: Plane, namespace: str, operator: Operator, player: Player
) -> None:
    """The peer's end is what the Job controller sees first: that the other was drained is known from before."""
    seals = Seals()
    served.apply([a_short_run(namespace, **TOGETHER)])
    first, second = await training(seals, player)
    await player.announce_disruption(second)
    await eventually(lambda: bool((seen := stage_of(served, namespace, "train").retries) and seen.leaving), 60, "it is seen")
    await player.finish(first, ExitCode.DEVICE, '{"reason": "RankLost", "message": "rank 0 lost the other ranks"}')
    await player.gone(second)
    await eventually(lambda: stage_of(served, namespace, "train").attempt == 1, 60, "the next attempt is due")
    entry = stage_of(served, namespace, "train")
    assert entry.retries
    assert (entry.retries.failed, entry.retries.disrupted) == (0, 1)
    failed = next(job for job in jobs_of(served, namespace) if job["metadata"]["name"] == first.job)["status"]["conditions"]
    assert [each["reason"] for each in failed if each["type"] == "Failed"] == ["BackoffLimitExceeded"]


@pytest.mark.fault(24)
async def test_a_node_without_room_costs_no_attempt_and_is_told_in_the_schedulers_words(
    served: Plane, namespace: str, operator: Operator, player: Player
) -> None:
    """The guard: as the attempt ends, the Job controller deletes the pod that had no place, and the Job looks as if it had worked."""
    seals, word = Seals(), '{"reason": "NodesMissing", "message": "the ranks did not find each other"}'
    served.apply([a_short_run(namespace, **TOGETHER)])
    first, second = await ordered(seals, player)
    await player.run(first)
    await player.unschedulable(second, NO_GPU)
    await eventually(lambda: stage_of(served, namespace, "train").message == NO_GPU, 60, NO_GPU)
    assert stage_of(served, namespace, "train").state is State.WAITING
    await player.finish(first, ExitCode.DEVICE, word)
    await player.gone(second)
    await eventually(lambda: stage_of(served, namespace, "train").attempt == 1, 60, "the next attempt is due")
    retries = stage_of(served, namespace, "train").retries
    assert retries
    assert (retries.failed, retries.disrupted) == (0, 0)
    await finish(seals, player, *await training(seals, player, other_than=first.job))
