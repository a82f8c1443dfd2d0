"""The schema of the chart's values: whole, closed, and as strict as the model that the operator reads them by."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from charts.values_schema import NAME, Schema, values_schema
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from rehearsal.api.crd import manifest
from rehearsal.api.names import Name
from rehearsal.api.platform import Platform
from tests.chart.helm import CHART, HelmRefused, Manifest, render

DRAFT_7 = {
    *("type", "enum", "const", "properties", "required", "additionalProperties", "patternProperties", "items", "uniqueItems"),
    *("pattern", "minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minItems", "maxItems"),
    *("if", "then", "description", "default", "title", "$schema"),
}
POWERS = {
    *("securityContext", "podSecurityContext", "privileged", "capabilities", "runAsUser", "volumes", "volumeMounts", "hostPath"),
    *("hostNetwork", "hostPID", "hostIPC", "command", "extraArgs", "initContainers", "sidecars", "rules", "clusterRole"),
}
TYPOS = {
    "runNamespace: [a]": "'runNamespace' not allowed",
    "platform: { stors: {} }": "at '/platform': additional properties 'stors' not allowed",
    "platform: { stores: { default: { s3: { bucket: abc, buckett: abc } } } }": (
        "at '/platform/stores/default/s3': additional properties 'buckett' not allowed"
    ),
    "platform: { stores: { default: { s3: { buckett: abc } } } }": "at '/platform/stores/default/s3': missing property 'bucket'",
    "platform: { stores: { default: {} } }": "at '/platform/stores/default': missing property 's3'",
    "platform: { stores: { default: { folder: { path: /store } } } }": "'folder' not allowed",
    "platform: { stores: { My_Store: { s3: { bucket: abc } } } }": "at '/platform/stores': additional properties 'My_Store' not",
    "platform: { device: { tolerations: [{ kee: gpu }] } }": "at '/platform/device/tolerations/0'",
    "platform: { enginePod: { memory: lots } }": "at '/platform/enginePod/memory'",
    "platform: { backoffLimit: many }": "at '/platform/backoffLimit': got string, want integer",
    "platform: null": "missing property 'platform'",
    "image: { digest: latest }": "at '/image/digest'",
    "image: { securityContext: { privileged: true } }": "at '/image': additional properties 'securityContext' not allowed",
    "securityContext: { privileged: true }": "'securityContext' not allowed",
    "networkPolicy: { store: [{ port: 443 }] }": "at '/networkPolicy/store/0': additional properties 'port' not allowed",
    "runNamespaces: [a, a]": "at '/runNamespaces'",
    "runNamespaces: [Team_A]": "at '/runNamespaces/0'",
    "resources: { limits: { nvidia.com/gpu: 1 } }": "at '/resources/limits'",
    "sweepSeconds: often": "at '/sweepSeconds': got string, want number",
}
PLATFORMS: tuple[Manifest, ...] = (
    {"stores": {"default": {"s3": {"bucket": "rehearsal", "region": None, "secret": "s3"}}}},
    {"stores": {"default": {"s3": {"bucket": "no"}}}},
    {"endpoints": {"lab": {"url": "https://lab/v1", "concurrency": 8}}},
    {"endpoints": {"lab": {"url": "http://lab/v1"}}},
    {"endpoints": {"lab": {"url": "http://lab/v1", "allowHttp": False}}},
    {"endpoints": {"lab": {"url": "http://lab/v1", "allowHttp": True}}},
    {"endpoints": {"lab": {"url": "lab"}}},
    {"endpoints": {"lab": {"url": "https://lab/v1", "concurrency": 0}}},
    {"hub": {"url": "ftp://hub"}},
    {"device": {"resource": "amd.com/gpu", "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]}},
    {"device": {"tolerations": [{"key": "gpu", "effect": "Never"}]}},
    {"limits": {"progressSeconds": 0}},
    {"limits": {"useCpu": True, "maxRanks": 2, "deviceMemoryGib": 1.5}},
    {"engine": {"args": ["--enforce-eager"], "env": {"A": "b"}, "startSeconds": 9}},
    {"engine": {"args": ["--enforce-eager"], "env": {"A": "b"}, "startSeconds": 10}},
    {"scratch": "50 GB"},
    {"ephemeralStorage": "Omit", "tmp": "1Gi"},
    {"ephemeralStorage": "Off"},
    {"deadlineSeconds": 1_209_600, "shutdownSeconds": 1},
    {"deadlineSeconds": 1_209_600},
)


def test_the_generated_files_are_those_that_the_models_give() -> None:
    written = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    assert written == values_schema(), "run `make manifests`"
    assert (CHART / "files" / "crd.yaml").read_text(encoding="utf-8") == manifest(), "run `make manifests`"


def test_every_object_is_closed_or_says_what_its_values_are() -> None:
    open_ones = [
        path for path, schema in nodes(values_schema()) if schema.get("type") == "object" and "additionalProperties" not in schema
    ]
    assert open_ones == ["/global"]


def test_every_helm_since_3_0_can_read_it() -> None:
    """A closed list of keywords of draft 7, and no references, which early versions resolve in their own ways."""
    assert {keyword for _, schema in nodes(values_schema()) for keyword in schema} <= DRAFT_7


def test_the_schema_knows_every_value_and_the_values_tell_every_part() -> None:
    values, schema = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8")), values_schema()
    assert set(values) | {"global"} == set(schema["properties"])
    assert unknown(values, schema, "") == []


def test_the_platforms_part_has_every_field_of_the_model() -> None:
    assert set(values_schema()["properties"]["platform"]["properties"]) == {field.alias for field in Platform.model_fields.values()}


@given(st.text(alphabet="ab1-_.", max_size=34))
def test_what_names_a_store_is_what_a_run_can_call_it_by(name: str) -> None:
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError:
        assert not re.fullmatch(NAME, name)
    else:
        assert re.fullmatch(NAME, name)


def test_no_value_has_to_do_with_privileges_or_with_the_node() -> None:
    assert {name for _, schema in nodes(values_schema()) for name in named(schema)}.isdisjoint(POWERS)


@pytest.mark.parametrize("values", TYPOS)
def test_what_is_wrong_is_named_by_its_place(values: str) -> None:
    with pytest.raises(HelmRefused) as refused:
        render(yaml.safe_load(values))
    assert TYPOS[values] in str(refused.value)


@pytest.mark.parametrize("platform", PLATFORMS, ids=str)
def test_helm_and_the_operator_give_the_same_verdict(platform: Manifest) -> None:
    try:
        Platform.model_validate(platform)
    except ValidationError:
        with pytest.raises(HelmRefused, match="/platform"):
            render({"platform": platform})
    else:
        render({"platform": platform})


def nodes(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Every schema within a schema."""
    yield path, schema
    for name, inner in named(schema).items():
        yield from nodes(inner, f"{path}/{name}")
    for keyword in ("items", "additionalProperties", "if", "then"):
        if isinstance(inner := schema.get(keyword), dict):
            yield from nodes(inner, f"{path}/{keyword}")


def named(schema: Schema) -> dict[str, Schema]:
    return schema.get("properties", {}) | schema.get("patternProperties", {})


def unknown(value: Any, schema: Schema, path: str) -> list[str]:
    """Places of values that the schema says nothing of."""
    if not isinstance(value, dict):
        return []
    found = {name: named(schema).get(name) or schema.get("additionalProperties") for name in value}
    missing = [f"{path}/{name}" for name, inner in found.items() if not inner]
    return missing + [place for name, inner in found.items() if inner for place in unknown(value[name], inner, f"{path}/{name}")]
