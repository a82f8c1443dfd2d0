"""What the resource can never ask for, and what never travels from it into pods: the shape that keeps a run's rights small."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from rehearsal.api.crd import crd
from rehearsal.api.run import RunSpec
from rehearsal.manifests.jobs import LABEL
from rehearsal.manifests.pod import QUIET, TASK_ANNOTATION
from rehearsal.pipeline.stage import Kind
from tests.unit.manifests.test_examples import jobs

FORBIDDEN = re.compile(
    "image|images|env|envFrom|args|command|volumes?|volumeMounts|template|podTemplate|patch(es)?|overrides?|namespaces?|secrets?|"
    "hostPath|hostNetwork|serviceAccount(Name)?|securityContext|privileged|capabilities|runtimeClassName|url|headers|"
    "labels|annotations|initContainers|sidecars|containers",
    re.IGNORECASE,
)
TELEMETRY_IS_OFF = {"DO_NOT_TRACK": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "VLLM_NO_USAGE_STATS": "1"}


def fields(schema: Mapping[str, Any], path: str = "spec") -> Iterator[str]:
    """Yield the path of every field of a schema."""
    for name, inner in schema.get("properties", {}).items():
        yield f"{path}.{name}"
        yield from fields(inner, f"{path}.{name}")
    for below in ("items", "additionalProperties"):
        if isinstance(schema.get(below), Mapping):
            yield from fields(schema[below], f"{path}[]")


def containers() -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Yield (Job, container) of the 70B run."""
    for job in jobs():
        pod = job["spec"]["template"]["spec"]
        yield from ((job, container) for container in [*pod["initContainers"], *pod["containers"]])


def test_the_resource_has_no_field_that_reaches_into_a_pod_or_another_namespace() -> None:
    (version,) = crd()["spec"]["versions"]
    found = list(fields(version["schema"]["openAPIV3Schema"]["properties"]["spec"]))
    assert "spec.rehearsal.reconstructed.committee.members[].name" in found
    assert [path for path in found if FORBIDDEN.fullmatch(path.rpartition(".")[2])] == []


def test_the_resource_is_closed() -> None:
    def open_objects(schema: Mapping[str, Any], path: str) -> Iterator[str]:
        if schema.get("x-kubernetes-preserve-unknown-fields") or schema.get("x-kubernetes-embedded-resource"):
            yield path
        for name, inner in schema.get("properties", {}).items():
            yield from open_objects(inner, f"{path}.{name}")
        for below in ("items", "additionalProperties"):
            if isinstance(schema.get(below), Mapping):
                yield from open_objects(schema[below], f"{path}[]")

    (version,) = crd()["spec"]["versions"]
    assert list(open_objects(version["schema"]["openAPIV3Schema"]["properties"]["spec"], "spec")) == []
    assert RunSpec.model_config["extra"] == "forbid"


def test_a_jobs_labels_and_annotations_are_a_closed_list() -> None:
    labels = {f"{LABEL}/{name}" for name in ("run", "run-uid", "stage", "kind", "store", "fingerprint", "endpoint")}
    labels |= {"app.kubernetes.io/managed-by", "app.kubernetes.io/version", "kueue.x-k8s.io/queue-name"}
    for job in jobs():
        assert job["metadata"]["labels"].keys() <= labels
        assert job["metadata"]["annotations"].keys() <= {
            f"{LABEL}/{name}" for name in ("fingerprint", "attempt", "execution", "supplies", "devices")
        }
        template = job["spec"]["template"]["metadata"]
        assert template["labels"].keys() <= labels
        assert template["annotations"].keys() == {TASK_ANNOTATION}


def test_no_text_of_a_run_is_in_an_argument_or_a_variable() -> None:
    """A run's words travel in the task file alone. Numbers and names with a pattern may be arguments."""
    for job, container in containers():
        spec = json.loads(job["spec"]["template"]["metadata"]["annotations"][TASK_ANNOTATION])["spec"]
        free = [spec["domain"]["uri"], spec["rehearsal"]["reconstructed"]["judging"]["rubric"]]
        free += [value for value in (spec["baseModel"]["uri"], spec["retry"], spec["rerun"]) if value]
        written = json.dumps([container["command"], container.get("args"), [env for env in container["env"] if "value" in env]])
        assert all(isinstance(text, str) and text and text not in written for text in free)
        assert set(re.findall(r"\$\([^)]*\)", written)) <= {"$(ENGINE_PORT)"}, "Kubernetes would expand it"


@pytest.mark.parametrize("name", sorted(TELEMETRY_IS_OFF))
def test_telemetry_is_off_in_every_container(name: str) -> None:
    assert QUIET[name] == TELEMETRY_IS_OFF[name]
    for _, container in containers():
        assert {"name": name, "value": TELEMETRY_IS_OFF[name]} in container["env"]


def test_no_container_but_that_of_a_fetching_pod_may_ask_a_hub() -> None:
    for job, container in containers():
        fetches = job["metadata"]["labels"][f"{LABEL}/kind"] == Kind.FETCH
        task = json.loads(job["spec"]["template"]["metadata"]["annotations"][TASK_ANNOTATION])
        assert ("hub" in task and task["hub"] is not None) == fetches
        assert {"name": "HF_HUB_OFFLINE", "value": "0" if fetches else "1"} in container["env"]
        assert any(env["name"] == "HF_ENDPOINT" for env in container["env"]) == fetches
