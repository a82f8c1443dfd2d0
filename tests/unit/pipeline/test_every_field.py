"""Every field of a run is part of some stage's identity, or one of the listed knobs; and no knob is."""

from collections.abc import Mapping
from typing import Any

import pytest

from rehearsal.api.model import ApiModel
from rehearsal.api.run import RunSpec
from rehearsal.pipeline.fingerprint import fingerprints
from rehearsal.pipeline.knobs import KNOBS, knobs_of
from rehearsal.pipeline.sources import external_inputs
from rehearsal.pipeline.stages import stages_of
from tests.unit.leaves import Leaf, blocks, leaves, others
from tests.unit.worlds import a_spec

HUB = "hf://owner/model@" + "a" * 40
MEMBERS = [
    {"name": "base", "base": True},
    {"name": "peer", "model": {"uri": "store://peer"}},
    {"name": "far", "endpoint": {"name": "judge", "model": "gpt"}},
    {"name": "hub", "model": {"uri": HUB}},
]
COMMON: Mapping[str, Any] = {
    "categories": {"uri": "store://categories.yaml"},
    "evaluation": {
        "suite": "open-llm-leaderboard-v2",
        "tasks": [{"name": "general", "uri": "store://general.yaml"}, {"name": "own", "uri": "store://own.yaml", "role": "Domain"}],
    },
    "scheduling": {"tolerations": [{"key": "gpu"}, {"effect": "NoExecute", "operator": "Exists"}]},
}


def spec_of(**changes: Any) -> RunSpec:
    return RunSpec.model_validate(a_spec(**{**COMMON, **changes}))


def reconstructed(**changes: Any) -> dict[str, Any]:
    made = {"count": 100, "committee": {"members": MEMBERS}, "filters": {"nearDuplicates": {}}, **changes}
    return {"rehearsal": {"reconstructed": made}}


RUNS = {
    "a committee": spec_of(**reconstructed()),
    "judges that score everything": spec_of(**reconstructed(judging={"pruning": "None", "judges": ["base", "peer"]})),
    "one member": spec_of(**reconstructed(committee={"members": MEMBERS[:1], "responsesPerMember": 1})),
    "a base model of a hub": spec_of(**reconstructed(), baseModel={"uri": HUB}),
    "a preset": spec_of(rehearsal={"dataset": {"preset": "tulu-v2-mix"}}),
    "a data set": spec_of(rehearsal={"dataset": {"uri": "store://set.jsonl"}}),
    "both sets whole": spec_of(rehearsal={"dataset": {"uri": "store://set.jsonl"}}, mixture={"mode": "Concatenate"}),
    "a control": spec_of(rehearsal={}, evaluation={}),
}
TOGETHER = {
    "rehearsal.reconstructed.committee.members[].base": spec_of(
        **reconstructed(committee={"members": [{"name": "base", "model": {"uri": "store://base"}}, *MEMBERS[1:]]})
    )
}
"""The run of a committee with a field changed that cannot change alone."""
LEAVES = {leaf.path: leaf for leaf in leaves(RunSpec)}


class SameBytes(dict[str, str]):
    """The digests of inputs whose bytes stay what they are, wherever they lie and whatever a member is called."""

    def __missing__(self, name: str) -> str:
        return ("model" if name == "baseModel" or name.startswith("model-") else name).ljust(64, "0")


def identities(spec: ApiModel) -> list[str]:
    assert isinstance(spec, RunSpec)
    return sorted(fingerprints(stages_of(spec, rounds=2), SameBytes()).values())


BEFORE = {name: identities(spec) for name, spec in RUNS.items()}


def is_knob(fields: tuple[tuple[type[ApiModel], str], ...]) -> bool:
    return any(name in knobs_of(model) for model, name in fields)


def moves(leaf: Leaf) -> list[bool]:
    """Whether a fingerprint of a run moves, for each other value of the field, and each run that has it."""
    found = [identities(other) != BEFORE[name] for name, spec in RUNS.items() for other in others(spec, leaf, "far")]
    return [*found, identities(TOGETHER[leaf.path]) != BEFORE["a committee"]] if leaf.path in TOGETHER else found


@pytest.mark.fault(78)
@pytest.mark.parametrize("path", LEAVES)
def test_a_change_of_a_field_moves_a_fingerprint_unless_it_is_a_listed_knob_which_moves_none(path: str) -> None:
    leaf = LEAVES[path]
    found = moves(leaf)
    assert found, f"{path}: no run of this test has the field, or no other value for it was found: add a run or a value"
    if is_knob(leaf.fields):
        assert not any(found), f"{path} is listed as a knob, and moves a fingerprint"
    else:
        assert any(found), (
            f"{path} moves no fingerprint: let a stage read its block (`fields_of`), or list it in pipeline/knobs.py with a reason"
        )


@pytest.mark.fault(78)
def test_a_field_that_nobody_classified_counts_whichever_block_it_is_added_to() -> None:
    counts: dict[str, bool] = {}
    for spec in RUNS.values():
        for way, before, after in blocks(spec):
            if not is_knob(way):
                where = ".".join(["spec", *(name for _, name in way)])
                counts[where] = counts.get(where, False) or identities(before) != identities(after)
    assert {where for where, counted in counts.items() if not counted} == set()
    assert {"spec", "spec.training", "spec.rehearsal.reconstructed.committee.members.endpoint"} <= counts.keys()


def test_every_listed_knob_is_a_field_of_a_run_and_has_a_reason() -> None:
    there = {field for leaf in LEAVES.values() for field in leaf.fields}
    listed = {(model, name) for model, names in KNOBS.items() for name in names}
    assert listed - there == set(), "no field of a run any more: take it off the list"
    assert all(len(why) > 10 for names in KNOBS.values() for why in names.values())


@pytest.mark.fault(78)
@pytest.mark.parametrize("name", RUNS)
def test_an_input_that_moves_with_its_bytes_moves_no_fingerprint(name: str) -> None:
    addresses = [leaf for path, leaf in LEAVES.items() if path.endswith("uri")]
    inputs = {uri for leaf in addresses for other in others(RUNS[name], leaf) for uri in external_inputs(other).values()}  # type: ignore[arg-type]
    assert {uri for uri in inputs if uri.startswith("store://elsewhere/")}
    assert all(identities(other) == BEFORE[name] for leaf in addresses for other in others(RUNS[name], leaf))


def test_another_commit_of_a_hubs_model_is_another_model_and_another_owner_is_not() -> None:
    def of(owner: str, commit: str) -> list[str]:
        return identities(spec_of(**reconstructed(), baseModel={"uri": f"hf://{owner}/model@{commit * 40}"}))

    assert of("owner", "a") == of("heir", "a")
    assert of("owner", "a") != of("owner", "b")
