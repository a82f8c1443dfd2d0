"""Upgrade, rollback and uninstall, with a run in the middle of its work."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.chart.helm import CHART, RELEASE, Manifest
from tests.chart.release import InstalledOperator, Release
from tests.chart.values import STORE
from tests.control.given import Plane
from tests.control.player import Player
from tests.control.story import a_short_run, all_goes_well, wait_for

pytestmark = pytest.mark.control

CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/reconstructionruns.rehearsal.dev"


@pytest.fixture
def release(plane: Plane, namespaces: list[str]) -> Iterator[Release]:
    release = Release(plane, namespaces[0])
    yield release
    if release.is_there():
        release.uninstall()


@pytest.fixture
def next_chart(tmp_path: Path) -> Path:
    """The chart of a later version, whose runs have one field more."""
    later = tmp_path / "later"
    shutil.copytree(CHART, later)
    chart, path = yaml.safe_load((later / "Chart.yaml").read_text()), later / "files" / "crd.yaml"
    (later / "Chart.yaml").write_text(yaml.safe_dump(chart | {"version": "0.2.0", "appVersion": "0.2.0"}))
    definition = path.read_text()
    found = definition.index("          spec:\n            description:")
    at = definition.index("            properties:\n", found) + len("            properties:\n")
    path.write_text(definition[:at] + "              tomorrow: { type: string }\n" + definition[at:])
    return later


async def test_a_run_at_work_outlives_upgrade_rollback_and_uninstall(
    plane: Plane, namespaces: list[str], release: Release, tmp_path: Path
) -> None:
    """What is there is the same, by UID and version; and an operator that is installed anew goes on where the run was left."""
    team = namespaces[1]
    values = {"runNamespaces": [team], "platform": STORE}
    release.install(values)
    plane.apply([a_short_run(team)])
    async with Player(plane, team) as player:
        async with InstalledOperator(release, tmp_path / "before"):
            for stage in ("preflight", "mix"):
                await all_goes_well(player)(await player.pod_of(stage))
            await player.run(train := await player.pod_of("train"))
            await wait_for(plane, team, "Reconciling")
        before = at_work(plane, team)

        release.upgrade(values | {"sweepSeconds": 30, "platform": STORE | {"scratch": "1Gi"}})
        assert "--sweep-seconds=30" in arguments(release)
        assert at_work(plane, team) == before
        release.rollback()
        assert "--sweep-seconds=60" in arguments(release)
        assert at_work(plane, team) == before
        release.uninstall()
        assert plane.request("GET", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{team}/roles")["items"] == []
        assert at_work(plane, team) == before

        release.install(values)
        await all_goes_well(player)(train)
        async with InstalledOperator(release, tmp_path / "after"), player.playing(all_goes_well(player)):
            status = await wait_for(plane, team, "Complete")
    assert [stage.attempt for stage in status.stages] == [0] * len(status.stages)
    assert set(before) <= set(at_work(plane, team))


def test_an_upgrade_brings_a_definitions_new_field_and_a_rollback_takes_it_back(
    plane: Plane, release: Release, next_chart: Path
) -> None:
    release.install({"platform": STORE})
    assert "tomorrow" not in fields(plane)
    release.upgrade({"platform": STORE}, next_chart)
    assert "tomorrow" in fields(plane)
    release.rollback()
    assert "tomorrow" not in fields(plane)
    assert "rerun" in fields(plane)


def test_an_install_with_nothing_said_is_taken_by_the_server_and_an_uninstall_leaves_the_definition(
    plane: Plane, namespaces: list[str], release: Release
) -> None:
    release.install({})
    assert arguments(release)[-1] == namespaces[0]
    release.uninstall()
    with pytest.raises(AssertionError, match="not found"):
        release.get(f"deployment/{RELEASE}")
    assert "spec" in plane.request("GET", CRD)


def at_work(plane: Plane, namespace: str) -> dict[str, tuple[str, str]]:
    """The runs of a namespace, and what they need, by name: UID, and whether somebody changed or deleted them."""
    kinds = "reconstructionruns,jobs,pods,serviceaccounts,networkpolicies"
    items = json.loads(plane.kubectl("get", kinds, f"--namespace={namespace}", "--output=json"))["items"]
    return {f"{item['kind']} {item['metadata']['name']}": (item["metadata"]["uid"], written(item)) for item in items}


def written(item: Manifest) -> str:
    return str(item["metadata"].get("generation")) + str(item["metadata"].get("deletionTimestamp"))


def arguments(release: Release) -> list[str]:
    return list(release.get(f"deployment/{RELEASE}")["spec"]["template"]["spec"]["containers"][0]["args"])


def fields(plane: Plane) -> set[str]:
    """The fields of a run's spec, as the server knows them."""
    (version,) = plane.request("GET", CRD)["spec"]["versions"]
    return set(version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"])
