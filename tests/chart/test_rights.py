"""The operator's rights, held against what it asks of a real API server; and who has none."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from rehearsal.controller.observe import read_run
from rehearsal.controller.world import inputs_key
from rehearsal.manifests.jobs import job_name
from tests.chart.helm import RELEASE, Manifest
from tests.chart.release import Asked, InstalledOperator, Release, Right, granted
from tests.control.given import Plane
from tests.control.operator_process import eventually
from tests.control.player import Player
from tests.control.proxy import Proxy
from tests.control.story import a_short_run, all_goes_well, jobs_of, resource_of, status_of, wait_for

pytestmark = pytest.mark.control

RIGHTS: set[Right] = {
    *(("rehearsal.dev", "reconstructionruns", verb) for verb in ("get", "list", "watch")),
    ("rehearsal.dev", "reconstructionruns/status", "patch"),
    *(("batch", "jobs", verb) for verb in ("get", "list", "watch", "create", "delete")),
    *(("", "pods", verb) for verb in ("list", "watch")),
    ("", "pods/log", "get"),
    *(("", "services", verb) for verb in ("get", "create")),
    *(("", "events", verb) for verb in ("list", "create")),
    ("kueue.x-k8s.io", "workloads", "list"),
}
"""All that the operator may do, letter by letter."""
DISCOVERY = re.compile(r"/api(/v1)?|/apis(/[^/]+/[^/]+)?")
"""What the server says of itself to everybody who is logged in: which kinds there are."""
ANYBODY = "system:serviceaccount:default:default"
"""A service account that nobody gave a right."""


@dataclass(frozen=True)
class Installed:
    """A release that operates in `team` and `other`, and in `elsewhere` not."""

    release: Release
    team: str
    other: str
    elsewhere: str


@pytest.fixture(scope="module")
def installed(plane: Plane, namespaces: list[str]) -> Iterator[Installed]:
    ops, team, other, elsewhere = namespaces
    release = Release(plane, ops)
    stores = {
        name: {"s3": {"bucket": "rehearsal", "prefix": name, "secret": "s3"}, "namespaces": [namespace]}
        for name, namespace in (("default", team), ("other", other))
    }
    platform = {"stores": stores, "progressSeconds": 1}
    release.install({"runNamespaces": [team, other], "platform": platform, "sweepSeconds": 1})
    yield Installed(release, team, other, elsewhere)
    release.uninstall()


@pytest.fixture
async def operator_and_asked(installed: Installed, tmp_path: Path) -> AsyncIterator[tuple[InstalledOperator, Asked]]:
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(Proxy(installed.release.plane))
        proxy.rule = asked = Asked()
        yield InstalledOperator(installed.release, tmp_path, proxy.url), asked


def test_the_role_is_the_snapshot_in_each_run_namespace_and_there_is_none_elsewhere(plane: Plane, installed: Installed) -> None:
    for namespace in (installed.team, installed.other):
        (role,) = listed(plane, namespace, "roles")
        assert set(granted(role)) == RIGHTS
    assert listed(plane, installed.elsewhere, "roles") == []
    assert listed(plane, installed.release.namespace, "roles") == []
    assert rights_of(plane, installed.release.account(), installed.elsewhere) == rights_of(plane, ANYBODY, installed.elsewhere)


def test_the_workers_account_may_do_what_anybody_may(plane: Plane, installed: Installed) -> None:
    worker = f"system:serviceaccount:{installed.team}:rehearsal-worker"
    assert rights_of(plane, worker, installed.team) == rights_of(plane, ANYBODY, installed.team)


def test_the_operators_pod_passes_pod_security_restricted(plane: Plane, installed: Installed) -> None:
    template = installed.release.get(f"deployment/{RELEASE}")["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "operator"}, "spec": template["spec"]}
    path = f"/api/v1/namespaces/{installed.release.namespace}/pods?dryRun=All&fieldValidation=Strict"
    assert plane.request("POST", path, pod)["spec"]["serviceAccountName"] == RELEASE


async def test_a_release_uses_every_right_it_has_and_asks_for_no_other(
    plane: Plane, installed: Installed, operator_and_asked: tuple[InstalledOperator, Asked]
) -> None:
    """A run with all that can come between: a name that is taken, a queue, no room for pods, suspension, deletion; on two nodes."""
    (operator, asked), team, other = operator_and_asked, installed.team, installed.other
    plane.kubectl("create", "quota", "no-pods", "--hard=pods=0", f"--namespace={other}")
    queued = {"queueName": "gpu", "training": {"nodes": 2}}
    plane.apply([a_short_run(team, **queued), a_short_run(other, store="other"), a_short_run(installed.elsewhere)])
    in_the_way = take_the_name_of_its_preflight(plane, team)

    async with operator, Player(plane, team) as player:
        await wait_for(plane, team, "Stalled")
        plane.request("DELETE", in_the_way)
        nudge(plane, team)
        preflight = await player.pod_of("preflight")
        suspend(plane, team, preflight.job, True)
        await eventually(lambda: ("kueue.x-k8s.io", "workloads", "list") in asked.rights, 60, "it asks Kueue why")
        await player.gone(preflight)
        suspend(plane, team, preflight.job, False)
        for stage in ("preflight", "mix"):
            await all_goes_well(player)(await player.pod_of(stage))
        for train in await player.pods_of("train", 2):
            await player.run(train)
        await eventually(lambda: ("", "pods/log", "get") in asked.rights, 60, "it reads how far training is")
        plane.apply([a_short_run(team, **queued, suspend=True)])
        await player.gone(train)
        plane.apply([a_short_run(team, **queued, suspend=False)])
        async with player.playing(all_goes_well(player)):
            await wait_for(plane, team, "Complete")
        await eventually(lambda: nudge(plane, other) or says_why(plane, other), 60, "it says why there are no pods")
        plane.kubectl("delete", "reconstructionrun/medical", f"--namespace={other}")
        await eventually(lambda: operator.metric("rehearsal_reconciles_total", result="gone") >= 1, 60, "it knows")

        assert operator.metric("rehearsal_api_calls_total", code="403") == 0
        assert operator.metric("rehearsal_errors_total", kind="Forbidden") == 0
    assert asked.rights == RIGHTS
    assert [path for path in asked.elsewhere if not DISCOVERY.fullmatch(path)] == []
    assert "orbidden" not in operator.log
    assert status_of(plane, installed.elsewhere).conditions == []
    assert jobs_of(plane, installed.elsewhere) == []


def take_the_name_of_its_preflight(plane: Plane, namespace: str) -> str:
    """Create somebody's Job under the name that the run's first one will have; returns its path."""
    run = read_run(resource_of(plane, namespace))
    name = job_name(run.name, run.uid, "preflight", inputs_key(run), 0)
    container = {"name": "main", "image": "any"}
    job = {
        "metadata": {"name": name},
        "spec": {"suspend": True, "template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
    }
    path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    plane.request("POST", path, job)
    return f"{path}/{name}?propagationPolicy=Background"


def nudge(plane: Plane, namespace: str) -> None:
    """Have the run looked at now, and not in half a minute."""
    path = f"/apis/rehearsal.dev/v1alpha1/namespaces/{namespace}/reconstructionruns/medical"
    plane.request("PATCH", path, {"metadata": {"annotations": {"tests/nudge": uuid4().hex}}})


def says_why(plane: Plane, namespace: str) -> bool:
    return any("exceeded quota" in stage.message for stage in status_of(plane, namespace).stages)


def suspend(plane: Plane, namespace: str, job: str, suspended: bool) -> None:
    """Hold a Job back as Kueue does, or let it go."""
    plane.request("PATCH", f"/apis/batch/v1/namespaces/{namespace}/jobs/{job}", {"spec": {"suspend": suspended}})


def listed(plane: Plane, namespace: str, kind: str) -> list[Manifest]:
    return list(plane.request("GET", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/{kind}")["items"])


def rights_of(plane: Plane, user: str, namespace: str) -> set[str]:
    """What the server says that a user may do in a namespace, a line a rule."""
    said = plane.kubectl("auth", "can-i", "--list", f"--as={user}", f"--namespace={namespace}")
    return {" ".join(line.split()) for line in said.splitlines()}
