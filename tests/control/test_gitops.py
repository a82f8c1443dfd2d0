"""A run in Git, carried out by the engines of Flux and Argo CD: no drift at any moment, an edit costs what it changes, and no more."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

import pytest
import yaml

from rehearsal.api.messages import ExitCode
from rehearsal.api.status import State
from tests.contract.corpus import cases
from tests.control.access import Manifest
from tests.control.gitops import ArgoCD, Failed, Flux, GitOps, Looks, judged_by_argo_cd, judged_by_flux, watched
from tests.control.given import Plane
from tests.control.operator_process import Operator, eventually
from tests.control.player import Player
from tests.control.story import (
    Seals,
    a_measured_run,
    a_short_run,
    jobs_of,
    only,
    played_up_to,
    resource_of,
    stage_of,
    uids_of,
    wait_for,
)
from tests.tools import ROOT

pytestmark = pytest.mark.control

TOOLS: dict[str, Callable[[Plane], GitOps]] = {
    "flux": lambda plane: Flux(plane.kubeconfig),
    "argocd": lambda plane: ArgoCD(plane.kubeconfig),
    "argocd-server-side": lambda plane: ArgoCD(plane.kubeconfig, server_side=True),
}
MOMENTS = 8
"""The status of a run of six stages is written at least so often."""

by_every_tool = pytest.mark.parametrize("by", TOOLS)


@by_every_tool
def test_no_run_as_we_write_them_drifts_and_applying_it_again_is_no_change(by: str, served: Plane, namespace: str) -> None:
    gitops = TOOLS[by](served)
    runs = [moved(run, namespace, f"run-{number}") for number, run in enumerate(written())]
    gitops.apply(*runs)
    assert gitops.drift(*runs) == [{}] * len(runs)
    gitops.apply(*runs)
    assert [live["metadata"]["generation"] for live in runs_of(served, namespace)] == [1] * len(runs)
    assert len(runs) > 50


@by_every_tool
async def test_what_somebody_changes_by_hand_is_drift_until_it_is_applied_again(by: str, served: Plane, namespace: str) -> None:
    gitops, run = TOOLS[by](served), a_short_run(namespace, seed=1)
    gitops.apply(run)
    with watched(gitops, run) as looks:
        served.kubectl("patch", "recon/medical", f"--namespace={namespace}", "--type=merge", "--patch", '{"spec": {"seed": 7}}')
        version = versions(served, namespace)["medical"]
        await eventually(partial(is_seen, version, looks), 60, "the tool looks at it")
        seen = looks.by_version()[version]
    assert seen
    assert all(difference["spec"] == {"seed": 1} for difference in seen.values())
    assert gitops.drift(run) == [seen]
    gitops.apply(run)
    assert gitops.drift(run) == [{}]
    assert resource_of(served, namespace)["spec"]["seed"] == 1


async def test_no_tool_sees_drift_in_a_run_from_its_first_moment_to_its_last(
    served: Plane, namespace: str, operator: Operator, player: Player
) -> None:
    tools = {by: of(served) for by, of in TOOLS.items()}
    runs = {by: a_measured_run(namespace, by, seed=number) for number, by in enumerate(tools)}
    with ExitStack() as stack:
        looks = {by: stack.enter_context(watched(gitops, runs[by])) for by, gitops in tools.items()}
        for by, gitops in tools.items():
            gitops.apply(runs[by])
        async with player.playing(Seals().script(player)):
            for by in tools:
                await wait_for(served, namespace, "Complete", by)
        last = versions(served, namespace)
        for by in tools:
            await eventually(partial(is_seen, last[by], looks[by]), 60, f"{by} looks at the complete run")
        seen = {by: found.by_version() for by, found in looks.items()}
    assert {by: [found for found in all_looks.values() if found] for by, all_looks in seen.items()} == {by: [] for by in tools}
    assert min(len(all_looks) for all_looks in seen.values()) >= MOMENTS

    jobs = uids_of(served, namespace)
    for by, gitops in tools.items():
        gitops.apply(runs[by])
    assert versions(served, namespace) == last
    assert uids_of(served, namespace) == jobs


async def test_an_edit_in_git_runs_what_it_changes_and_the_same_again_starts_nothing(
    served: Plane, namespace: str, operator: Operator, player: Player
) -> None:
    flux = Flux(served.kubeconfig)

    async def carried_out(run: Manifest) -> list[str]:
        """Apply, wait until Flux is content, apply again; return the stages of the new Jobs."""
        before = uids_of(served, namespace)
        assert flux.applied(run) == ["configured" if before else "created"]
        await asyncio.to_thread(flux.wait, run, seconds=240)
        done, version = uids_of(served, namespace), versions(served, namespace)
        assert flux.applied(run) == ["unchanged"]
        assert versions(served, namespace) == version
        assert done.items() >= before.items()
        return sorted(done[uid] for uid in done.keys() - before.keys())

    async with player.playing(Seals().script(player)):
        first = await carried_out(a_measured_run(namespace))
        assert first == ["evaluate-base", "evaluate-tuned", "mix", "preflight", "report", "train"]

        edited = await carried_out(a_measured_run(namespace, training={"learningRate": 1e-5}))
        assert edited == ["evaluate-tuned", "preflight", "report", "train"]
        reasons = {name: stage_of(served, namespace, name).reason for name in ("train", "evaluate-tuned", "report")}
        assert reasons == {
            "train": "spec.training.learningRate changed",
            "evaluate-tuned": "stage train changed",
            "report": "stage evaluate-tuned, stage train changed",
        }

        again = await carried_out(a_measured_run(namespace, training={"learningRate": 1e-5}, rerun="2"))
        assert again == ["evaluate-tuned", "mix", "preflight", "report", "train"]
        assert stage_of(served, namespace, "mix").reason == "spec.rerun changed"
    created = len(first) + len(edited) + len(again)
    assert operator.metric("rehearsal_api_calls_total", verb="create", kind="Job") == created == len(jobs_of(served, namespace))


async def test_a_second_run_in_git_shares_its_first_stages_with_the_first(
    served: Plane, namespace: str, operator: Operator, player: Player
) -> None:
    flux, seals = Flux(served.kubeconfig), Seals()
    runs = [a_measured_run(namespace), a_measured_run(namespace, "bolder", training={"learningRate": 1e-4})]
    assert flux.applied(runs[0]) == ["created"]
    mix = await played_up_to("mix", seals, player)
    assert flux.applied(*runs) == ["unchanged", "created"]
    async with player.playing(seals.script(player)):
        await seals.finish(player, mix)
        await asyncio.to_thread(flux.wait, *runs, seconds=240)
    once, twice = ("mix", "evaluate-base"), ("preflight", "train", "evaluate-tuned", "report")
    stages = Counter(job["metadata"]["labels"]["rehearsal.dev/stage"] for job in jobs_of(served, namespace))
    assert stages == dict.fromkeys(once, 1) | dict.fromkeys(twice, 2)
    for stage in once:
        states = {stage_of(served, namespace, stage, run["metadata"]["name"]).state for run in runs}
        assert states == {State.SUCCEEDED, State.REUSED}
    assert flux.applied(*runs) == ["unchanged", "unchanged"]


async def test_flux_waits_until_a_run_is_complete_and_no_longer_than_until_it_stalls(
    served: Plane, namespace: str, operator: Operator, player: Player
) -> None:
    flux, run, seals = Flux(served.kubeconfig), a_short_run(namespace), Seals()

    async def waited(run: Manifest, seconds: float = 240) -> None:
        await asyncio.to_thread(flux.wait, run, seconds=seconds)

    flux.apply(run)
    train = await played_up_to("train", seals, player)
    with pytest.raises(Failed, match=r"timeout waiting for.*InProgress"):
        await waited(run, seconds=5)
    assert health(served, namespace) == ("InProgress", "Progressing")

    waits = asyncio.create_task(waited(run))
    await player.finish(train, ExitCode.TOO_MANY_REFUSED, '{"reason": "NotFinite", "message": "the loss is nan at step 7"}')
    with pytest.raises(Failed, match=r"stalled resources.*Failed"):
        await waits
    assert health(served, namespace) == ("Failed", "Degraded")
    assert flux.drift(run) == [{}]

    run = a_short_run(namespace, retry="2")
    assert flux.applied(run) == ["configured"]
    async with player.playing(only(seals.script(player), "preflight", "train", "report")):
        await waited(run)
    assert health(served, namespace) == ("Current", "Healthy")


def is_seen(version: str, looks: Looks) -> bool:
    return version in looks.by_version()


def written() -> Iterator[Manifest]:
    """Every run of the examples, and every manifest that the contract accepts; but for those with a null, which is not for Git."""
    for path in sorted((ROOT / "examples").glob("*/*.yaml")):
        if "ReconstructionRun" in (text := path.read_text(encoding="utf-8")):
            yield yaml.safe_load(text)
    for run in cases("accepted").values():
        if None not in values(run):
            yield run


def values(manifest: object) -> Iterator[object]:
    """All values in a manifest that hold no others."""
    match manifest:
        case dict():
            yield from (value for each in manifest.values() for value in values(each))
        case list():
            yield from (value for each in manifest for value in values(each))
        case _:
            yield manifest


def moved(run: Manifest, namespace: str, name: str) -> Manifest:
    return run | {"metadata": run["metadata"] | {"name": name, "namespace": namespace}}


def runs_of(plane: Plane, namespace: str) -> list[Manifest]:
    return list(plane.request("GET", f"/apis/rehearsal.dev/v1alpha1/namespaces/{namespace}/reconstructionruns")["items"])


def versions(plane: Plane, namespace: str) -> dict[str, str]:
    """The resource version of every run, by name: it changes with every write that changes anything."""
    return {run["metadata"]["name"]: run["metadata"]["resourceVersion"] for run in runs_of(plane, namespace)}


def health(plane: Plane, namespace: str) -> tuple[str, str]:
    """What Flux and Argo CD make of the run as it is now."""
    run = resource_of(plane, namespace)
    return judged_by_flux([run])[0]["status"], judged_by_argo_cd([run])[0]["status"]
