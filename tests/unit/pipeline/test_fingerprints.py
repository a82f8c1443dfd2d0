"""What a stage's identity depends on, and what it does not."""

import pytest

from rehearsal.api.run import RunSpec
from rehearsal.api.status import RunStatus, StageStatus
from rehearsal.controller.bounds import bounded
from rehearsal.pipeline.fingerprint import changed, fingerprints, parts
from rehearsal.pipeline.reconstruction import round_rows
from rehearsal.pipeline.sources import external_inputs
from rehearsal.pipeline.stage import MAX_ROUNDS, Kind
from rehearsal.pipeline.stages import stages_of
from tests.unit.worlds import INPUTS, a_spec, parsed


def known(spec: RunSpec) -> dict[str, str]:
    return fingerprints(stages_of(spec), INPUTS)


def differing(before: RunSpec, after: RunSpec) -> set[str]:
    old, new = known(before), known(after)
    return {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}


def test_every_stage_reads_only_earlier_ones() -> None:
    earlier: set[str] = set()
    for stage in stages_of(parsed(), rounds=3):
        assert set(stage.inputs.values()) <= earlier
        earlier.add(stage.name)


@pytest.mark.parametrize("name", ["base", "suite", "dataset", "model"])
def test_a_members_name_gives_no_other_stages_name(name: str) -> None:
    model = {"uri": "hf://owner/other@" + "b" * 40}
    members = [{"name": "tuned", "base": True}, {"name": name, "model": model}]
    spec = parsed(
        baseModel={"uri": "hf://owner/base@" + "a" * 40},
        rehearsal={"reconstructed": {"committee": {"members": members}}},
        evaluation={"suite": "open-llm-leaderboard-v2"},
    )
    names = [stage.name for stage in stages_of(spec)]
    assert len(set(names)) == len(names)


def test_names_of_all_stages_differ_and_fingerprints_too() -> None:
    stages = stages_of(parsed(), rounds=2)
    assert len({stage.name for stage in stages}) == len(stages)
    assert len(set(fingerprints(stages, INPUTS).values())) == len(stages)


@pytest.mark.parametrize(
    ("change", "affected"),
    [
        ({"training": {"learningRate": 2e-6}}, {"train", "evaluate-tuned", "report"}),
        (
            {"evaluation": {"tasks": [{"name": "general", "uri": "store://x"}], "limit": 5}},
            {"evaluate-base", "evaluate-tuned", "report"},
        ),
        ({"mixture": {"domainFraction": 0.2}}, {"mix", "train", "evaluate-tuned", "report"}),
        ({"mixture": {"mode": "Concatenate"}}, {"mix", "train", "evaluate-tuned", "report"}),
        ({"queueName": "gpu"}, set()),
        ({"suspend": True}, set()),
        ({"retry": "2"}, set()),
        ({"scheduling": {"nodeSelector": {"gpu": "h100"}}}, set()),
        ({"ttlSecondsAfterFinished": 700}, set()),
        ({"training": {"nodes": 4, "processesPerNode": 2}}, set()),
        ({"training": {"nodes": 2}}, {"train", "evaluate-tuned", "report"}),
        ({"training": {"zeroStage": 2, "offload": "Optimizer", "checkpointMinutes": 5}}, set()),
        ({"baseModel": {"uri": "store://base", "serving": {"replicas": 4, "tensorParallel": 8}}}, set()),
    ],
)
def test_an_edit_affects_exactly_the_stages_it_can_change(change: dict[str, object], affected: set[str]) -> None:
    assert differing(parsed(), parsed(**change)) == affected


@pytest.mark.parametrize(
    ("run", "ignored"),
    [
        ({"rehearsal": {}}, {"mode": "Concatenate"}),
        ({"rehearsal": {}}, {"domainFraction": 0.2, "repeatDomain": True}),
        ({"mixture": {"mode": "Concatenate"}}, {"mode": "Concatenate", "domainFraction": 0.2}),
    ],
)
def test_what_a_mix_does_not_heed_changes_no_stage(run: dict[str, object], ignored: dict[str, object]) -> None:
    assert not differing(parsed(**run), parsed(**run | {"mixture": ignored}))


def test_a_new_seed_and_a_rerun_run_every_sampled_stage_anew_but_not_the_base_models_evaluation() -> None:
    for change in ({"seed": 1}, {"rerun": "2"}):
        untouched = set(known(parsed())) - differing(parsed(), parsed(**change))
        assert untouched == {"evaluate-base"}


def test_a_control_shares_the_base_models_evaluation_with_the_run_it_controls() -> None:
    run, control = known(parsed()), known(parsed(rehearsal={}))
    assert run["evaluate-base"] == control["evaluate-base"]
    assert run["mix"] != control["mix"]


def test_a_members_name_is_not_part_of_its_answers_identity() -> None:
    spec = a_spec()
    spec["rehearsal"]["reconstructed"]["committee"]["members"][1]["name"] = "other"
    renamed = RunSpec.model_validate(spec)
    inputs = INPUTS | {"model-other": INPUTS["model-peer"]}
    assert fingerprints(stages_of(renamed), inputs)["respond-other"] == known(parsed())["respond-peer"]


def test_another_digest_of_an_input_changes_what_reads_it() -> None:
    after = fingerprints(stages_of(parsed()), INPUTS | {"domain": "0" * 64})
    before = known(parsed())
    assert {name for name in before if before[name] != after[name]} == {"mix", "train", "evaluate-tuned", "report"}


def test_what_changed_is_said_by_path() -> None:
    def of(name: str, **changes: object) -> dict[str, str]:
        spec = parsed(**changes)
        table = {stage.name: stage for stage in stages_of(spec)}
        return parts(table[name], INPUTS, known(spec))

    assert changed(of("train"), of("train", training={"epochs": 2})) == "spec.training.epochs changed"
    assert changed(of("mix"), of("mix", mixture={"domainFraction": 0.2})) == "spec.mixture.domainFraction changed"
    assert changed(of("train"), of("train")) == ""


def test_more_rounds_change_no_other_stage() -> None:
    one, three = fingerprints(stages_of(parsed()), INPUTS), fingerprints(stages_of(parsed(), 3), INPUTS)
    assert one.items() <= three.items()
    kinds = ("elicit{}", "filter{}", "respond{}-base", "respond{}-peer", "judge{}-base", "judge{}-peer")
    assert set(three) - set(one) == {name.format(round_) for name in kinds for round_ in (2, 3)}


@pytest.mark.parametrize("names", [("peer", "peer-2"), ("peer", "2-peer"), ("2", "2-2"), ("a--2", "a")])
def test_no_members_name_gives_the_name_of_a_later_rounds_stage(names: tuple[str, str]) -> None:
    members = [{"name": names[0], "base": True}, {"name": names[1], "model": {"uri": "store://peer"}}]
    stages = stages_of(parsed(rehearsal={"reconstructed": {"committee": {"members": members}}}), MAX_ROUNDS)
    assert len({stage.name for stage in stages}) == len(stages)


def test_the_largest_committee_fits_the_status_in_every_round() -> None:
    members = [{"name": f"m{i}" + "x" * 30, "model": {"uri": "hf://owner/m@" + str(i) * 40}} for i in range(6)]
    spec = parsed(
        baseModel={"uri": "hf://owner/base@" + "a" * 40},
        rehearsal={"reconstructed": {"committee": {"members": members}}},
        evaluation={"suite": "open-llm-leaderboard-v2"},
    )
    stages = stages_of(spec, MAX_ROUNDS)
    status = RunStatus(stages=[StageStatus(name="preflight"), *(StageStatus(name=stage.name, kind=stage.kind) for stage in stages)])
    assert len(stages) > 64
    assert bounded(status) == status


def test_a_round_reads_its_own_stages_and_earlier_instructions_only_where_duplicates_are_dropped() -> None:
    def read(name: str, **filters: bool) -> set[str]:
        made = {**a_spec()["rehearsal"]["reconstructed"], "filters": filters}
        table = {stage.name: stage for stage in stages_of(parsed(rehearsal={"reconstructed": made}), 3)}
        return set(table[name].inputs.values())

    assert read("filter3") == {"elicit3"}
    assert read("filter3", exactDuplicates=True) == {"elicit3", "filter", "filter2"}
    assert read("respond2-peer") == {"filter2"}
    assert read("judge2-peer") == {"filter2", "respond2-base", "respond2-peer", "judge2-base"}


def test_the_first_round_elicits_a_little_more_than_asked() -> None:
    assert round_rows(100_000, 1) == 105_008
    assert [round_rows(100_000, round_) for round_ in (2, 3, 4)] == [25_008, 50_008, 100_008]


def test_inputs_are_every_uri_of_the_spec() -> None:
    assert set(external_inputs(parsed())) == set(INPUTS)
    assert all(stage.kind is not Kind.PREFLIGHT for stage in stages_of(parsed()))
