import copy

import pytest

from rehearsal.cluster.fields import HONOURED, HONOURED_BY_NATURE, ONLY, UnsupportedField, check
from rehearsal.cluster.port import Invalid
from tests.contract.cluster_jobs import job_of, shell, sidecar

POD = "spec.template.spec"


def changed(path, value):
    """A Job that is fine but for one field."""
    item = {"path": "task.json", "fieldRef": {"fieldPath": "metadata.annotations['a']"}}
    volumes = [{"name": "task", "downwardAPI": {"items": [item]}}, {"name": "scratch", "emptyDir": {}}]
    main = shell("true", volumeMounts=[{"name": "scratch", "mountPath": "/scratch"}], resources={"limits": {"cpu": "1"}})
    job = copy.deepcopy(job_of(main, init=(sidecar("pass"),), pod={"volumes": volumes}))
    place = job
    *steps, last = path.replace("[0]", ".0").split(".")
    for step in steps:
        place = place[int(step)] if isinstance(place, list) else place.setdefault(step, {})
    place[last] = value
    return job


def test_the_job_that_these_tests_change_is_fine():
    check(changed("spec.backoffLimit", 3))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.generateName", "job-"),
        ("metadata.finalizers", ["x"]),
        ("spec.suspend", True),
        ("spec.successPolicy", {"rules": [{"succeededCount": 1}]}),
        ("spec.maxFailedIndexes", 1),
        ("spec.maxFailedIndexes", 0),
        ("spec.completionMode", "Striped"),
        ("spec.podReplacementPolicy", "TerminatingOrFailed"),
        ("spec.podFailurePolicy.rules[0].action", "FailIndex"),
        (f"{POD}.restartPolicy", "OnFailure"),
        (f"{POD}.hostNetwork", True),
        (f"{POD}.nodeSelector", {"gpu": "h100"}),
        (f"{POD}.tolerations", [{"operator": "Exists"}]),
        (f"{POD}.priorityClassName", "high"),
        (f"{POD}.volumes[0].hostPath", {"path": "/etc"}),
        (f"{POD}.volumes[0].downwardAPI.items[0].fieldRef.fieldPath", "metadata.name"),
        (f"{POD}.containers[0].workingDir", "/work"),
        (f"{POD}.containers[0].livenessProbe", {"httpGet": {"port": 1}}),
        (f"{POD}.containers[0].envFrom", [{"secretRef": {"name": "x"}}]),
        (f"{POD}.containers[0].resources.limits.cpu", "much"),
        (f"{POD}.containers[0].volumeMounts[0].name", "nothing"),
        (f"{POD}.containers[0].volumeMounts[0].subPath", "x"),
        (f"{POD}.initContainers[0].startupProbe.grpc", {"port": 1}),
        (f"{POD}.initContainers[0].restartPolicy", "OnFailure"),
        (f"{POD}.initContainers[0].command", []),
    ],
)
def test_a_field_or_value_off_the_list_is_refused_by_its_path(path, value):
    with pytest.raises(UnsupportedField) as refused:
        check(changed(path, value))
    assert str(refused.value).startswith(f"{path}: ")
    assert isinstance(refused.value, Invalid)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.labels", {"any.thing/else": "x"}),
        ("spec.suspend", False),
        ("spec.podReplacementPolicy", "Failed"),
        (f"{POD}.nodeSelector", {}),
        (f"{POD}.tolerations", []),
        (f"{POD}.securityContext", {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}),
        (f"{POD}.containers[0].resources.requests", {"nvidia.com/gpu": "8"}),
        (f"{POD}.containers[0].securityContext", {"capabilities": {"drop": ["ALL"]}}),
    ],
)
def test_what_means_nothing_to_processes_and_does_no_harm_is_let_through(path, value):
    check(changed(path, value))


def test_a_key_of_a_secret_is_the_variable_of_that_name(monkeypatch):
    job = changed(
        f"{POD}.containers[0].env", [{"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}}]
    )
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    check(job)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(UnsupportedField) as refused:
        check(job)
    assert str(refused.value) == (
        f"{POD}.containers[0].env[0]: set HF_TOKEN in the environment of this command: here it stands for key token of Secret hub"
    )


@pytest.mark.parametrize("source", ["configMapKeyRef", "fieldRef"])
def test_a_value_from_elsewhere_is_refused(source):
    with pytest.raises(UnsupportedField, match=source):
        check(changed(f"{POD}.containers[0].env", [{"name": "X", "valueFrom": {source: {"name": "x"}}}]))


def test_one_main_container_is_honoured():
    with pytest.raises(UnsupportedField, match=r"^spec\.template\.spec\.containers: one main container"):
        check(changed(f"{POD}.containers", [shell("true"), shell("true", "second")]))


def test_a_work_queue_is_refused():
    with pytest.raises(UnsupportedField, match=r"^spec\.completions: "):
        check(changed("spec.parallelism", 2))


def test_the_list_of_honoured_fields_says_each_field_once():
    assert len(set(HONOURED)) == len(HONOURED)
    assert not set(HONOURED) & set(HONOURED_BY_NATURE)
    assert all(reason for reason in HONOURED_BY_NATURE.values())
    assert all(values for values in ONLY.values())
