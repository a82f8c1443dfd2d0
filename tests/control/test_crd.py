"""The generated CRD at a real API server: it is accepted, it teaches, it shows the defaults, and it judges like the models."""

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from rehearsal.api.crd import crd
from rehearsal.api.run import Rehearsal, RunSpec
from rehearsal.api.status import Condition, RunStatus, StageStatus
from tests.contract.corpus import Manifest, cases, changed, whole
from tests.control.access import Refused
from tests.control.given import Plane
from tests.tools import ROOT

pytestmark = pytest.mark.control

EXAMPLES = [path for path in sorted((ROOT / "examples").rglob("*.yaml")) if "kind: ReconstructionRun" in path.read_text("utf-8")]
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
RUNS = "/apis/rehearsal.dev/v1alpha1/namespaces/default/reconstructionruns"


@pytest.fixture(scope="module")
def served(plane: Plane) -> Plane:
    """The control plane, with the CRD."""
    plane.apply([crd()])
    return plane


def tried(plane: Plane, manifest: Manifest) -> Manifest:
    """The manifest as the API server would store it; what kubectl does with `--dry-run=server`. Raises Refused."""
    return plane.request("POST", f"{RUNS}?dryRun=All&fieldValidation=Strict", manifest)


def refusal(plane: Plane, manifest: Manifest) -> str:
    with pytest.raises(Refused) as refused:
        tried(plane, manifest)
    return json.loads(str(refused.value).split(": ", 1)[1])["message"]


def test_the_definition_is_established_and_structural(served: Plane) -> None:
    found = served.request("GET", f"{CRDS}/reconstructionruns.rehearsal.dev")["status"]["conditions"]
    assert {condition["type"]: condition["status"] for condition in found} == {"NamesAccepted": "True", "Established": "True"}


@pytest.mark.parametrize("about", cases("accepted"))
def test_a_good_manifest_is_accepted(served: Plane, about: str) -> None:
    tried(served, cases("accepted")[about])


@pytest.mark.parametrize("about", cases("refused"))
def test_a_manifest_with_one_thing_wrong_is_refused(served: Plane, about: str) -> None:
    with pytest.raises(Refused):
        tried(served, cases("refused")[about])


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_example_is_accepted(served: Plane, path: Path) -> None:
    assert tried(served, yaml.safe_load(path.read_text(encoding="utf-8")))["spec"]["suspend"] is False


def test_kubectl_and_the_command_read_numbers_and_dates_alike(served: Plane) -> None:
    text = yaml.safe_dump(whole()).replace("learningRate: 1.0e-06", "learningRate: 1e-6").replace("retry: '1'", "retry: 2026-01-01")
    read = json.loads(served.kubectl("create", "--dry-run=server", "--output=json", "-f", "-", input=text))["spec"]
    assert (read["training"]["learningRate"], read["retry"]) == (1e-6, "2026-01-01")


def test_a_dry_run_shows_the_papers_values_at_every_depth(served: Plane) -> None:
    spec = tried(served, whole() | {"spec": minimal(rehearsal={"reconstructed": {}})})["spec"]
    assert spec["training"]["learningRate"] == 1e-6
    assert spec["mixture"]["domainFraction"] == 0.17
    assert spec["rehearsal"]["reconstructed"]["committee"]["sampling"] == {"temperature": 0.7, "topP": 0.9, "maxTokens": 2048}
    assert spec["rehearsal"]["reconstructed"]["committee"]["members"] == [{"name": "base", "base": True}]


@pytest.mark.parametrize("rehearsal", [{}, {"reconstructed": {}}, {"dataset": {"preset": "genqa"}}])
def test_the_server_fills_in_what_the_models_fill_in(served: Plane, rehearsal: dict[str, Any]) -> None:
    written = minimal(rehearsal=rehearsal)
    stored = tried(served, whole() | {"spec": written})["spec"]
    assert stored == RunSpec.model_validate(written).wire()
    assert RunSpec.model_validate(stored) == RunSpec.model_validate(written)


def test_what_has_a_meaning_by_its_presence_is_not_filled_in(served: Plane) -> None:
    spec = tried(served, whole() | {"spec": minimal(rehearsal={"reconstructed": {}})})["spec"]
    assert tried(served, whole() | {"spec": minimal()})["spec"]["rehearsal"] == {}
    assert "nearDuplicates" not in spec["rehearsal"]["reconstructed"]["filters"]


def test_a_null_is_the_same_as_leaving_the_field_out(served: Plane) -> None:
    written = changed(whole(), {"spec.mixture.domainFraction": None})
    assert tried(served, written)["spec"]["mixture"]["domainFraction"] == 0.17
    assert RunSpec.model_validate(written["spec"]).mixture.domain_fraction == 0.17


@pytest.mark.parametrize("message", [rule.message for model in (RunSpec, Rehearsal) for rule in model.rules])
def test_a_broken_rule_is_told_by_the_field_and_in_the_models_own_words(served: Plane, message: str) -> None:
    said = refusal(served, changed(whole(), {"spec.rehearsal.dataset": {"preset": "genqa"}}))
    assert f"spec.rehearsal: Invalid value: {message}" in said


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("spec.rehearsal.reconstructed.judging", "Every judge scores every candidate of every instruction."),
        ("spec.mixture.mode", "Concatenate takes both sets whole"),
        ("spec.training", "AdamW's peak learning rate."),
        ("status.stages", "Why it waits or failed, one line."),
    ],
)
def test_kubectl_explain_teaches(served: Plane, path: str, words: str) -> None:
    assert words in " ".join(served.kubectl("explain", f"recon.{path}").split())


def test_a_table_of_runs_shows_stage_progress_time_left_cost_readiness_and_why(served: Plane, namespace: str) -> None:
    served.kubectl("create", "-n", namespace, "-f", "-", input=yaml.safe_dump(whole()))
    since = {"last_transition_time": NOON, "observed_generation": 1}
    condition = Condition(type="Ready", status="False", reason="Running", message="elicit-1; waiting: train (no GPU)", **since)
    status = RunStatus(conditions=[condition], stages=[StageStatus(name="elicit-1")], progress=42).wire()
    status |= {"summary": "elicit-1 (3 of 9)", "remaining": "2 h", "usage": {"gpuHours": 1.5}}
    path = f"/apis/rehearsal.dev/v1alpha1/namespaces/{namespace}/reconstructionruns/whole/status"
    served.request("PATCH", f"{path}?fieldValidation=Strict", {"status": status})
    header, row = served.kubectl("get", "recon", "-n", namespace).splitlines()
    assert header.split() == ["NAME", "STAGE", "PROGRESS", "ETA", "GPU-H", "READY", "AGE", "MESSAGE"]
    assert row.split()[:10] == ["whole", "elicit-1", "(3", "of", "9)", "42", "2", "h", "1.5", "False"]
    assert row.split(maxsplit=11)[11] == "elicit-1; waiting: train (no GPU)"


def test_runs_are_found_by_queue_and_by_store(served: Plane, namespace: str) -> None:
    served.kubectl("create", "-n", namespace, "-f", "-", input=yaml.safe_dump(whole()))
    asked = ["get", "recon", "-n", namespace, "--output=name", "--field-selector"]
    assert served.kubectl(*asked, "spec.queueName=gpu-batch,spec.store=default").split() == [
        "reconstructionrun.rehearsal.dev/whole"
    ]
    assert served.kubectl(*asked, "spec.queueName=other") == ""


NOON = "2026-01-01T12:00:00Z"
WORDS = ["", "base", "gpt4", "General", "Exclude", "store://x", "run://a", "1", "true", "a\n", "é", "None", "sharegpt"]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 20),
    st.sampled_from([0.5, 1.0, 2.5, -1.0, 1e300, 2**31 - 1, 2**31, 2**63, 131_072, 131_073]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(WORDS),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=3), st.dictionaries(st.sampled_from(["name", "uri", "base", "x"]), SCALARS))
PLACES = st.integers(0, 10_000)


def minimal(**more: Any) -> dict[str, Any]:
    """A spec of what is required, and more."""
    return {"baseModel": {"uri": "store://base"}, "domain": {"uri": "store://data.jsonl"}, **more}


def places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (container, key) of every value below."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield node, key
        yield from places(value)


def mutated(manifest: Manifest, mutations: list[tuple[int, str, Any]]) -> Manifest:
    """A copy with values replaced, doubled, renamed or taken out."""
    made = deepcopy(manifest)
    for place, what, value in mutations:
        found = [*places(made["spec"])]
        assume(found)
        container, key = found[place % len(found)]
        if what == "replace":
            container[key] = value
        elif what == "double" and isinstance(container, list):
            container.append(deepcopy(container[key]))
        elif what == "rename" and isinstance(container, dict):
            container[f"{key}x"] = container.pop(key)
        else:
            del container[key]
    return made


@settings(max_examples=400, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(PLACES, st.sampled_from(["replace", "replace", "replace", "double", "rename", "remove"]), VALUES),
        min_size=1,
        max_size=3,
    )
)
def test_models_and_server_judge_every_mutation_alike(served: Plane, mutations: list[tuple[int, str, Any]]) -> None:
    manifest = mutated(whole(), mutations)
    try:
        expected: RunSpec | None = RunSpec.model_validate(manifest["spec"], by_alias=True, by_name=False)
    except ValueError as error:
        expected, why = None, str(error)
    if expected is None:
        with pytest.raises(Refused):
            tried(served, manifest)
            pytest.fail(f"the server accepts what the models refuse: {why}")
    else:
        assert RunSpec.model_validate(tried(served, manifest)["spec"]) == expected
