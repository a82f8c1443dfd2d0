"""Who may talk to whom: the chart's network policies, held against the pods that the operator makes."""

from functools import cache

import pytest

from rehearsal.api.platform import Platform
from rehearsal.api.run import RunSpec
from rehearsal.manifests.jobs import Order, build_job
from rehearsal.pipeline.fingerprint import fingerprints
from rehearsal.pipeline.sources import external_inputs
from rehearsal.pipeline.stages import stages_of
from tests.chart.helm import HelmRefused, Manifest, of_kind, one, render
from tests.chart.values import EVERYTHING, STORE
from tests.unit.worlds import parsed

HUB_MODEL = f"hf://someone/model@{'a' * 40}"
CLIENTS = {"respond-strong", "judge-strong"}


@pytest.fixture(scope="module")
def everything() -> list[Manifest]:
    return render(EVERYTHING)


@cache
def labels_of_pods() -> dict[str, dict[str, str]]:
    """The labels of every stage's pods, of a run that fetches its base model and asks an endpoint."""
    members = [{"name": "base", "base": True}, {"name": "strong", "endpoint": {"name": "strong", "model": "large"}}]
    committee = {"reconstructed": {"count": 100, "committee": {"members": members}}}
    spec = parsed(baseModel={"uri": HUB_MODEL}, rehearsal=committee)
    return {name: job["spec"]["template"]["metadata"]["labels"] for name, job in _jobs(spec).items()}


def _jobs(spec: RunSpec) -> dict[str, Manifest]:
    platform = Platform.model_validate(EVERYTHING["platform"])
    inputs = dict.fromkeys(external_inputs(spec), "a" * 64)
    known = fingerprints(stages_of(spec), inputs)
    orders = [
        Order("team-a", "medical", "uid", spec, stage, known[stage.name], inputs=inputs, known=known) for stage in stages_of(spec)
    ]
    return {order.stage.name: build_job(order, platform) for order in orders}


def policies(manifests: list[Manifest], namespace: str) -> list[Manifest]:
    return [policy for policy in of_kind(manifests, "NetworkPolicy") if policy["metadata"]["namespace"] == namespace]


def walls(found: list[Manifest], labels: dict[str, str]) -> list[Manifest]:
    """The policies that are about a pod of these labels."""
    return [policy["spec"] for policy in found if policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()]


def reach(found: list[Manifest], labels: dict[str, str]) -> set[int]:
    """The ports that a pod of these labels may reach."""
    return {port["port"] for wall in walls(found, labels) for rule in wall["egress"] for port in rule.get("ports", ())}


def test_pods_reach_dns_and_the_stores_and_only_clients_of_an_endpoint_that_one(everything: list[Manifest]) -> None:
    """By the ports of the URLs. A store without a Secret has its credentials lent over HTTPS."""
    found = policies(everything, "team-a")
    reached = {stage: reach(found, labels) for stage, labels in labels_of_pods().items()}
    assert {stage for stage, ports in reached.items() if 8443 in ports} == CLIENTS
    assert {frozenset(ports - {8443}) for ports in reached.values()} == {frozenset({53, 443, 9000})}


def test_only_pods_that_fetch_reach_the_hub() -> None:
    rules = {
        "hub": [{"to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}], "ports": [{"port": 8081}]}],
        "store": [{"to": [{"namespaceSelector": {"matchLabels": {"name": "lab"}}}], "ports": [{"port": 9000}]}],
    }
    found = policies(render({"platform": STORE, "networkPolicy": rules}), "ops")
    reached = {stage: reach(found, labels) for stage, labels in labels_of_pods().items()}
    assert {stage.partition("-")[0] for stage, ports in reached.items() if 8081 in ports} == {"fetch"}
    assert set().union(*reached.values()) == {53, 9000, 8081}


def test_without_a_store_a_pod_reaches_dns_alone() -> None:
    labels = labels_of_pods()["respond-strong"]
    assert reach(policies(render(), "ops"), labels) == {53}


def test_nobody_reaches_a_worker_but_pods_that_train_each_other(everything: list[Manifest]) -> None:
    """On any port of theirs, and in the same namespace: a rule without a namespaceSelector is about its own."""
    training = labels_of_pods()["train"]
    for stage, labels in labels_of_pods().items():
        around = walls(policies(everything, "team-a"), labels)
        assert any("Ingress" in wall["policyTypes"] for wall in around)
        peers = [peer for wall in around for rule in wall.get("ingress", ()) for peer in rule["from"]]
        assert bool(peers) == (stage == "train")
        assert peers == [peer for wall in around for rule in wall["egress"] for peer in rule.get("to", ()) if "podSelector" in peer]
        for peer in peers:
            assert peer.keys() == {"podSelector"}
            chosen = peer["podSelector"]["matchLabels"].items()
            assert [name for name, those in labels_of_pods().items() if chosen <= those.items()] == ["train"]
            assert chosen <= training.items()


def test_the_operator_is_not_a_worker(everything: list[Manifest]) -> None:
    labels = one(everything, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert walls(policies(everything, "team-a"), labels) == []


def test_policies_can_be_left_out() -> None:
    assert policies(render({"networkPolicy": {"enabled": False}}), "ops") == []


def test_rules_for_an_endpoint_that_is_not_there_are_refused() -> None:
    with pytest.raises(HelmRefused, match=r"networkPolicy\.endpoints\.opnai: platform\.endpoints names no such endpoint"):
        render({"networkPolicy": {"endpoints": {"opnai": []}}})
