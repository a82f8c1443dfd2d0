"""What an install would apply: the operator's pod, its platform, the namespaces where runs live."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import rehearsal
from rehearsal.api.crd import crd
from rehearsal.api.platform import Platform
from rehearsal.controller.__main__ import parser
from rehearsal.controller.platform_file import read_platform
from tests.chart.helm import CHART, HelmRefused, Manifest, helm, of_kind, one, platform_of, render
from tests.chart.values import EVERYTHING, STORE

CONTAINER_SECURITY = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}
POD_SECURITY = {"runAsNonRoot": True, "runAsUser": 65532, "runAsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"}}

KEPT = {"helm.sh/resource-policy": "keep"}


@pytest.fixture(scope="module")
def defaults() -> list[Manifest]:
    return render()


@pytest.fixture(scope="module")
def everything() -> list[Manifest]:
    return render(EVERYTHING)


def test_the_defaults_make_these_objects_and_nothing_for_the_whole_cluster_but_the_definition(defaults: list[Manifest]) -> None:
    kinds = sorted(manifest["kind"] for manifest in defaults)
    assert kinds == [
        *("ConfigMap", "CustomResourceDefinition", "Deployment", *["NetworkPolicy"] * 3),
        *("Role", "RoleBinding", "Service", "ServiceAccount", "ServiceAccount"),
    ]
    assert {manifest["metadata"].get("namespace") for manifest in defaults if manifest["kind"] != "CustomResourceDefinition"} == {
        "ops"
    }


@pytest.mark.parametrize("rendered", ["defaults", "everything"])
def test_no_value_changes_how_the_operators_pod_is_confined(rendered: str, request: pytest.FixtureRequest) -> None:
    pod = one(request.getfixturevalue(rendered), "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"] == POD_SECURITY
    assert container["securityContext"] == CONTAINER_SECURITY
    assert container["resources"]["limits"]["memory"]
    assert {"hostNetwork", "hostPID", "hostIPC", "initContainers"}.isdisjoint(pod)
    assert [sorted(volume) for volume in pod["volumes"]] == [["configMap", "name"], ["emptyDir", "name"]]


def test_the_operator_understands_its_arguments(everything: list[Manifest]) -> None:
    container = one(everything, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    assert container["command"] == ["python", "-m", "rehearsal.controller"]
    read = parser().parse_args(container["args"])
    assert (read.namespace, read.port, read.sweep_seconds, read.log_format) == (["team-a", "team-b"], 8080, 30.0, "text")
    assert container["ports"] == [{"name": "http", "containerPort": read.port}]
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert str(read.platform.parent) in mounts


def test_an_image_goes_by_digest_before_tag_before_the_charts_version(defaults: list[Manifest], everything: list[Manifest]) -> None:
    assert image(defaults) == f"rehearsal/operator:{rehearsal.__version__}"
    assert image(everything) == f"registry.example/operator@sha256:{'0' * 64}"
    assert image(render({"image": {"tag": "1.2.3"}})) == "rehearsal/operator:1.2.3"


def test_the_operator_reads_the_platform_that_the_values_say(everything: list[Manifest], tmp_path: Path) -> None:
    read = platform(everything, tmp_path)
    expected = {**EVERYTHING["platform"], "images": read.images.wire() | EVERYTHING["platform"]["images"]}
    assert read == Platform.model_validate(expected)
    assert read.images.operator == image(everything)
    assert read.images.inference == f"registry.example/inference:{rehearsal.__version__}"


def test_the_workers_images_lie_beside_the_operators_under_its_tag(tmp_path: Path) -> None:
    assert platform(render(), tmp_path).images.trainer == f"rehearsal/trainer:{rehearsal.__version__}"
    values = {"image": {"repository": "registry.example/ml/operator", "tag": "1.2.3"}}
    assert platform(render(values), tmp_path).images.trainer == "registry.example/ml/trainer:1.2.3"


@pytest.mark.parametrize("folder", ["", "ml/", "localhost:5000/", "registry.example:5000/team/ml/"])
def test_beside_means_in_the_same_folder_if_there_is_one(folder: str, tmp_path: Path) -> None:
    values = {"image": {"repository": f"{folder}operator", "tag": "1.2.3"}}
    images = {name: f"{folder}{name}:1.2.3" for name in ("operator", "inference", "trainer")}
    assert platform(render(values), tmp_path).images.wire() == images


def test_the_device_is_a_gpu_unless_it_is_said_to_be_none(tmp_path: Path) -> None:
    assert platform(render(), tmp_path).device.resource == "nvidia.com/gpu"
    assert platform(render({"platform": {"device": {"resource": None}}}), tmp_path).device.resource is None


def test_an_upgrade_ends_the_old_operator_before_the_new_one_starts(defaults: list[Manifest]) -> None:
    """Two with different platforms would each make anew the Jobs that wait under the other's."""
    spec = one(defaults, "Deployment")["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}


def test_another_platform_restarts_the_operator(defaults: list[Manifest], everything: list[Manifest]) -> None:
    sums = [one(manifests, "Deployment")["spec"]["template"]["metadata"]["annotations"] for manifests in (defaults, everything)]
    assert sums[0] != sums[1]


def test_each_run_namespace_is_prepared_alike(everything: list[Manifest]) -> None:
    def prepared(namespace: str) -> list[Any]:
        return [
            manifest | {"metadata": manifest["metadata"] | {"namespace": "it"}}
            for manifest in everything
            if manifest["metadata"].get("namespace") == namespace
        ]

    assert prepared("team-a") == prepared("team-b")
    kinds = sorted(manifest["kind"] for manifest in prepared("team-a"))
    assert kinds == [*["NetworkPolicy"] * 4, "Role", "RoleBinding", "ServiceAccount"]


TWO_TEAMS = {
    "runNamespaces": ["team-a", "team-b"],
    "platform": {
        "stores": {
            "a": {"s3": {"bucket": "runs", "prefix": "team-a"}, "namespaces": ["team-a"]},
            "b": {"s3": {"bucket": "runs", "prefix": "team-b"}, "namespaces": ["team-b"]},
        }
    },
    "workerServiceAccount": {
        "annotations": {"owner": "platform"},
        "namespaces": {"team-a": {"annotations": {"role": "a"}}, "team-b": {"annotations": {"role": "b", "owner": "b"}}},
    },
}


def test_two_teams_have_a_store_and_a_role_each(tmp_path: Path) -> None:
    manifests = render(TWO_TEAMS)
    accounts = {found["metadata"]["namespace"]: found for found in of_kind(manifests, "ServiceAccount")}
    assert accounts["team-a"]["metadata"]["annotations"] == KEPT | {"owner": "platform", "role": "a"}
    assert accounts["team-b"]["metadata"]["annotations"] == KEPT | {"owner": "b", "role": "b"}
    assert platform(manifests, tmp_path).stores["a"].namespaces == ["team-a"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"runNamespaces": ["team-a", "team-b"], "platform": STORE},
            "platform.stores.default.namespaces: name those of team-a, team-b whose runs may use this store",
        ),
        (
            {
                "runNamespaces": ["team-a"],
                "platform": {"stores": {"default": {"s3": {"bucket": "runs"}, "namespaces": ["team-c"]}}},
            },
            "platform.stores.default.namespaces: team-c is not among runNamespaces (team-a)",
        ),
        (
            {"platform": STORE, "workerServiceAccount": {"namespaces": {"team-c": {"annotations": {"role": "c"}}}}},
            "workerServiceAccount.namespaces: team-c is not among runNamespaces (ops)",
        ),
    ],
)
def test_a_store_that_does_not_say_whose_it_is_is_not_installed(values: Manifest, words: str) -> None:
    with pytest.raises(HelmRefused, match=re.escape(words)):
        render(values)


def test_workers_have_an_identity_and_no_rights(everything: list[Manifest]) -> None:
    (account,) = [found for found in of_kind(everything, "ServiceAccount") if found["metadata"]["namespace"] == "team-a"]
    assert account["metadata"]["name"] == Platform().service_account
    assert account["metadata"]["annotations"] == KEPT | EVERYTHING["workerServiceAccount"]["annotations"]
    assert account["automountServiceAccountToken"] is False
    assert account["imagePullSecrets"] == [{"name": "registry"}]
    bound = {(who["namespace"], who["name"]) for binding in of_kind(everything, "RoleBinding") for who in binding["subjects"]}
    assert bound == {("ops", "rehearsal")}


def test_what_workers_need_outlives_an_uninstall_as_runs_do(everything: list[Manifest]) -> None:
    accounts = [found for found in of_kind(everything, "ServiceAccount") if found["metadata"]["namespace"] == "team-a"]
    policies = of_kind(everything, "NetworkPolicy")
    assert policies
    assert all(KEPT.items() <= found["metadata"]["annotations"].items() for found in accounts + policies)


def test_workers_never_share_the_operators_account() -> None:
    with pytest.raises(HelmRefused, match=r"platform\.serviceAccount: rehearsal is the operator's own"):
        render({"platform": {"serviceAccount": "rehearsal"}})


def test_the_definition_is_the_models_own_and_outlives_an_uninstall(defaults: list[Manifest]) -> None:
    found = one(defaults, "CustomResourceDefinition")
    assert found["metadata"].pop("annotations") == KEPT
    assert found == crd()
    assert "annotations" not in one(render({"crds": {"keep": False}}), "CustomResourceDefinition")["metadata"]
    assert of_kind(render({"crds": {"install": False}}), "CustomResourceDefinition") == []


def test_prometheus_finds_the_metrics(everything: list[Manifest]) -> None:
    monitor, service = one(everything, "ServiceMonitor")["spec"], one(everything, "Service")
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    pod = one(everything, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= pod.items()


def test_helm_finds_nothing_to_complain_of() -> None:
    assert "0 chart(s) failed" in helm("lint", str(CHART), "--strict", values=EVERYTHING)


def test_the_chart_can_be_part_of_another_one(tmp_path: Path) -> None:
    (tmp_path / "charts").mkdir()
    (tmp_path / "charts" / "rehearsal").symlink_to(CHART)
    (tmp_path / "Chart.yaml").write_text(yaml.safe_dump({"apiVersion": "v2", "name": "all", "version": "1.0.0"}))
    values = {"global": {"region": "eu"}, "rehearsal": {"platform": STORE}}
    assert "bucket: rehearsal" in platform_of(render(values, chart=tmp_path))


def test_what_it_says_after_an_install_names_what_is_still_missing() -> None:
    assert "No store is named yet" in notes({})
    said = notes(EVERYTHING)
    assert "operates in: team-a, team-b" in said
    for secret in ("s3: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY (store lab)", "strong: API_KEY", "hub-token: HF_TOKEN"):
        assert secret in said
    assert "No store" not in said


@pytest.mark.fault(74)
def test_an_upgrade_without_a_store_is_refused_before_anything_changes() -> None:
    with pytest.raises(HelmRefused, match=r"platform\.stores: this upgrade names no store.*--reset-then-reuse-values"):
        render({}, "--is-upgrade")
    assert render({"platform": STORE}, "--is-upgrade")


def notes(values: Manifest) -> str:
    return helm("install", "rehearsal", str(CHART), "--dry-run=client", "--namespace=ops", values=values).partition("NOTES:")[2]


def image(manifests: list[Manifest]) -> str:
    return str(one(manifests, "Deployment")["spec"]["template"]["spec"]["containers"][0]["image"])


def platform(manifests: list[Manifest], folder: Path) -> Platform:
    (folder / "platform.yaml").write_text(platform_of(manifests))
    return read_platform(folder / "platform.yaml", ["ops"])
