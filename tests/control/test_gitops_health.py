"""What Flux and Argo CD make of a run in every state, by Flux's own kstatus library and by our health script in Argo CD's own runtime."""

import asyncio
import re
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from rehearsal.api.crd import GROUP, KIND, crd
from rehearsal.cluster.port import Manifest
from tests.control.gitops import Verdict, judged_by_argo_cd, judged_by_flux
from tests.control.gitops_table import TABLE, Row
from tests.control.given import Plane
from tests.control.run_states import applied
from tests.unit.worlds import a_spec

pytestmark = pytest.mark.control


@pytest.fixture(scope="module")
def runs() -> Mapping[str, Manifest]:
    """A run in each row."""

    async def all_of_them() -> Mapping[str, Manifest]:
        return {row.name: await row.manifest() for row in TABLE}

    return asyncio.run(all_of_them())


@pytest.fixture(scope="module")
def flux(runs: Mapping[str, Manifest]) -> Mapping[str, Verdict]:
    return dict(zip(runs, judged_by_flux([*runs.values()]), strict=True))


@pytest.fixture(scope="module")
def argo_cd(runs: Mapping[str, Manifest]) -> Mapping[str, Verdict]:
    return dict(zip(runs, judged_by_argo_cd([*runs.values()]), strict=True))


@pytest.fixture
def served(plane: Plane, namespace: str) -> str:
    """The path of a namespace's runs at an API server that knows what a run is."""
    plane.apply([crd()])
    return f"/apis/{GROUP}/v1alpha1/namespaces/{namespace}/reconstructionruns"


every_state = pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)


@every_state
def test_flux_and_argo_cd_see_a_run_that_is(row: Row, flux: Mapping[str, Verdict], argo_cd: Mapping[str, Verdict]) -> None:
    shown = argo_cd[row.name]
    assert (flux[row.name]["status"], shown["status"]) == (row.flux, row.argo)
    assert shown["message"].startswith(row.words)


def test_who_reads_the_ready_condition_alone_takes_no_run_for_done_that_is_not(
    runs: Mapping[str, Manifest], flux: Mapping[str, Verdict]
) -> None:
    seen = dict(zip(runs, judged_by_flux([ready_alone(run) for run in runs.values()]), strict=True))
    whole = {name: verdict["status"] for name, verdict in flux.items()}
    assert {name: verdict["status"] for name, verdict in seen.items()} == {
        name: "InProgress" if status == "Failed" else status for name, status in whole.items()
    }


def test_a_run_without_any_status_is_progressing_to_argo_cd_and_current_to_flux_which_is_why_the_crd_gives_it_one() -> None:
    run = asyncio.run(applied()).run()
    assert "status" not in run
    assert judged_by_argo_cd([run])[0]["status"] == "Progressing"
    assert judged_by_flux([run])[0]["status"] == "Current"


def test_the_health_script_reads_conditions_in_any_order_and_passes_over_those_it_does_not_know(
    runs: Mapping[str, Manifest],
) -> None:
    run = runs["complete"]
    strange = {"type": "Audited", "status": "True", "reason": "Later", "message": "a later release says so"}
    status = run["status"] | {"conditions": [strange, *reversed(run["status"]["conditions"])]}
    assert judged_by_argo_cd([run | {"status": status}])[0]["status"] == "Healthy"


def test_the_api_server_shows_a_new_run_as_in_progress_before_anybody_has_looked_at_it(
    plane: Plane, namespace: str, served: str
) -> None:
    created = plane.request("POST", served, run_named("new") | {"status": {"observedGeneration": 1}})
    read = plane.request("GET", f"{served}/new")
    listed = plane.request("GET", served)["items"][0] | {"apiVersion": read["apiVersion"], "kind": KIND}
    assert [verdict["status"] for verdict in judged_by_flux([created, read, listed])] == ["InProgress"] * 3
    assert [verdict["status"] for verdict in judged_by_argo_cd([created, read, listed])] == ["Progressing"] * 3
    same = yaml.safe_dump(run_named("new", namespace))
    plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=same)
    assert plane.kubectl("diff", "--server-side", "-f", "-", input=same) == ""


def test_kubectl_wait_takes_a_condition_for_true_only_of_the_present_spec(
    plane: Plane, namespace: str, served: str, runs: Mapping[str, Manifest]
) -> None:
    there = {name.replace(" ", "-"): run for name, run in runs.items() if "deletionTimestamp" not in run["metadata"]}
    for name, run in there.items():
        put(plane, served, name, run)
    for condition in ("Complete", "Failed", "Suspended"):
        assert waited_for(plane, namespace, condition) == {name for name, run in there.items() if holds(run, condition)}


def ready_alone(run: Manifest) -> Manifest:
    status = run["status"]
    return run | {"status": status | {"conditions": [c for c in status.get("conditions", []) if c["type"] == "Ready"]}}


def holds(run: Manifest, condition: str) -> bool:
    """As the run's present generation has it."""
    status = run["status"]
    true = {c["type"] for c in status.get("conditions", []) if c["status"] == "True"}
    return condition in true and status["observedGeneration"] == run["metadata"]["generation"]


def run_named(name: str, namespace: str | None = None) -> dict[str, Any]:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": f"{GROUP}/v1alpha1", "kind": KIND, "metadata": metadata, "spec": a_spec()}


def put(plane: Plane, path: str, name: str, run: Manifest) -> None:
    """Write a run at its generation and with its status, which must be there afterwards to the last field."""
    plane.request("POST", path, run_named(name))
    for generation in range(1, run["metadata"]["generation"]):
        plane.request("PATCH", f"{path}/{name}", {"spec": {"seed": generation}})
    stored = plane.request("PATCH", f"{path}/{name}/status", {"status": run["status"]})
    assert stored["metadata"]["generation"] == run["metadata"]["generation"]
    assert stored["status"] == run["status"]


def waited_for(plane: Plane, namespace: str, condition: str) -> set[str]:
    """The runs of which `kubectl wait`, asked once, says that the condition is met."""
    try:
        said = plane.kubectl("wait", f"--for=condition={condition}", "--timeout=0s", "-n", namespace, "recon", "--all")
    except AssertionError as error:
        said = str(error)
    return set(re.findall(r"reconstructionrun\.rehearsal\.dev/(\S+) condition met", said))
