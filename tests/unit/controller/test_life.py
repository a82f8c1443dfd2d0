"""Pods that need somebody's help: which, after how long, and what is said. As the mirror keeps them, and in every order."""

from datetime import timedelta
from typing import Any

import pytest

from rehearsal.cluster.slim import pack, slim, unpack
from rehearsal.controller.life import ENDING, KEPT, LACKED, LOADING, STARTING, stuck
from rehearsal.controller.why import Why
from tests.unit.worlds import NOON

AT = "2026-01-01T12:00:00Z"
SECOND = timedelta(seconds=1)
RUNNING = {"running": {"startedAt": AT}}
ENDED = {"terminated": {"exitCode": 0, "finishedAt": AT}}
NO_IMAGE = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
CREATING = {"waiting": {"reason": "ContainerCreating"}}


def pod(
    phase: str, *, init: dict[str, Any] | None = None, deleted: str | None = None, node: str = "n1", **mains: Any
) -> dict[str, Any]:
    """A pod by the states of its containers, whole as an API server writes it."""
    metadata = {"name": "medical-elicit-0", "namespace": "research", "uid": "u", "resourceVersion": "1", "managedFields": [{}]}
    metadata |= {"deletionTimestamp": deleted} if deleted else {}
    status = {"phase": phase, "startTime": AT, "containerStatuses": [{"name": n, "state": s} for n, s in mains.items()]}
    status["initContainerStatuses"] = [{"name": name, "state": state} for name, state in (init or {}).items()]
    spec = {"nodeName": node, "containers": [{"name": "main"}]} if node else {"containers": [{"name": "main"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status}


def seen(item: dict[str, Any], after: timedelta) -> Why | None:
    """What is said of a pod as the mirror has it."""
    return stuck([unpack(pack(slim(item)))], NOON + after)


@pytest.mark.fault(68)
@pytest.mark.parametrize(
    ("item", "limit", "reason", "words"),
    [
        (pod("Running", deleted=AT, main=RUNNING), ENDING, "PodStuck", "on node n1 should have ended at"),
        (pod("Pending", deleted=AT, main=CREATING), ENDING, "PodStuck", "force-delete the pod"),
        (pod("Running", deleted=AT, node="", main=RUNNING), ENDING, "PodStuck", "remove the finalizer that holds it"),
        (pod("Running", main=ENDED, proxy=RUNNING), KEPT, "PodStuck", "container proxy keeps the pod"),
        (pod("Running", main=ENDED, a=RUNNING, b=RUNNING), KEPT, "PodStuck", "containers a, b keep the pod"),
        (pod("Running", main=ENDED, init={"engine": RUNNING}), KEPT, "PodStuck", "container engine keeps the pod"),
        (pod("Running", main=ENDED), KEPT, "PodStuck", "and the pod has not: if the node does not answer"),
        (pod("Pending", main=NO_IMAGE), LACKED, "PodCannotStart", "ImagePullBackOff: no such image"),
        (pod("Pending", init={"load-model": ENDED, "engine": NO_IMAGE}), LACKED, "PodCannotStart", "no such image"),
        (pod("Pending", main=CREATING), STARTING, "PodCannotStart", "has started no container since"),
        (
            pod("Pending", init={"load-model": RUNNING}),
            LOADING,
            "NoProgress",
            "container load-model of pod medical-elicit-0 on node n1",
        ),
    ],
)
def test_a_pod_is_told_of_once_its_time_is_over_and_not_earlier(
    item: dict[str, Any], limit: timedelta, reason: str, words: str
) -> None:
    assert seen(item, limit - SECOND) is None
    found = seen(item, limit + SECOND)
    assert found
    assert found.reason == reason
    assert words in found.message
    assert "medical-elicit-0" in found.message
    assert "since" in found.message or "at 2026" in found.message


@pytest.mark.fault(68)
@pytest.mark.parametrize(
    "item",
    [
        pod("Running", main=RUNNING),
        pod("Running", main=RUNNING, proxy=ENDED),
        pod("Succeeded", main=ENDED, deleted=AT),
        pod("Failed", main=ENDED),
        pod("Pending", init={"load-model": ENDED, "engine": RUNNING}),
    ],
    ids=["at work", "another container ended", "ended", "failed", "its engine starts"],
)
def test_a_pod_that_lives_or_has_ended_needs_nobody(item: dict[str, Any]) -> None:
    assert seen(item, timedelta(days=3)) is None


def test_pods_without_a_node_are_the_schedulers_to_speak_of() -> None:
    unplaced = pod("Pending", node="")
    del unplaced["status"]["startTime"]
    assert seen(unplaced, timedelta(days=3)) is None


@pytest.mark.fault(68)
def test_of_several_pods_the_gravest_is_told_and_how_many_are_like_it() -> None:
    pods = [pod("Pending", main=NO_IMAGE), *[pod("Running", deleted=AT, main=RUNNING) for _ in range(3)]]
    found = stuck(pods, NOON + timedelta(hours=1))
    assert found
    assert found.reason == "PodStuck"
    assert found.message.endswith("; 2 more pods are like it")
