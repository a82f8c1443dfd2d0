"""Whose inputs a run may name: those of its own namespace, in a store that serves it."""

import pytest

from rehearsal.api.platform import StoreConfig
from rehearsal.api.run import RunSpec
from rehearsal.pipeline.external import foreign

MEMBERS = [{"name": "base", "base": True}, {"name": "peer", "model": {"uri": "store://team-a/peer"}}]
SPEC = {
    "baseModel": {"uri": "store://team-a/base"},
    "rehearsal": {"reconstructed": {"count": 10, "committee": {"members": MEMBERS}}},
    "domain": {"uri": "store://team-a/domain.jsonl"},
    "evaluation": {"tasks": [{"name": "general", "uri": "store://team-a/eval/general.yaml"}]},
    "categories": {"uri": "store://team-a/kinds.yaml"},
}


def wrong(spec: dict[str, object], namespace: str, *namespaces: str) -> dict[str, str]:
    store = StoreConfig.model_validate({"s3": {"bucket": "runs"}, "namespaces": namespaces})
    return dict(foreign(RunSpec.model_validate(spec), namespace, store))


def test_a_run_outside_of_a_stores_namespaces_is_refused_by_name() -> None:
    assert wrong(SPEC, "team-b", "team-a") == {"spec.store": "'default' is a store of team-a; runs of team-b may not use it"}


def test_a_store_of_one_namespace_is_its_whole_and_one_of_this_machine_nobodys() -> None:
    anywhere = SPEC | {"domain": {"uri": "store://inputs/domain.jsonl"}}
    assert wrong(anywhere, "team-a", "team-a") == {}
    assert wrong(anywhere, "default") == {}


def test_in_a_shared_store_every_input_lies_under_the_runs_own_namespace() -> None:
    assert wrong(SPEC, "team-a", "team-a", "team-b") == {}
    assert sorted(wrong(SPEC, "team-b", "team-a", "team-b")) == [
        "spec.baseModel.uri",
        "spec.categories.uri",
        "spec.domain.uri",
        "spec.evaluation.tasks[0].uri",
        "spec.rehearsal.reconstructed.committee.members[1].model.uri",
    ]
    data_set = SPEC | {"rehearsal": {"dataset": {"uri": "store://team-a/chats.jsonl"}}}
    assert "spec.rehearsal.dataset.uri" in wrong(data_set, "team-b", "team-a", "team-b")


@pytest.mark.parametrize(
    "uri",
    [
        "store://team-b/domain.jsonl",
        "store:///team-b/domain.jsonl",
        "store://inputs/domain.jsonl",
        "store://team-a",
        "store://team-a-b/domain.jsonl",
        "store://team-a/../team-b/domain.jsonl",
        "store://team-a//../team-b/domain.jsonl",
        "store://./team-b/domain.jsonl",
        "store://TEAM-A/domain.jsonl",
    ],
)
def test_no_spelling_leads_into_another_namespace(uri: str) -> None:
    found = wrong(SPEC | {"domain": {"uri": uri}}, "team-a", "team-a", "team-b")
    assert found == {
        "spec.domain.uri": "team-a and team-b share the store 'default': a run of team-a reads what lies under store://team-a/; "
        "copy it into that folder"
    }


def test_what_comes_from_a_hub_is_nobodys() -> None:
    hub = {"uri": f"hf://meta-llama/Meta-Llama-3-8B-Instruct@{'a' * 40}"}
    assert wrong(SPEC | {"baseModel": hub}, "team-a", "team-a", "team-b") == {}
