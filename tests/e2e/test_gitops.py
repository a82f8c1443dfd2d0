"""A run in Git: a second one that shares what the first has made, edits that run what they affect, and no drift for Flux or Argo CD."""

from collections.abc import Iterator

import pytest

from tests.control.gitops import ArgoCD, Flux, watched
from tests.e2e.cluster import Cluster, eventually, uids
from tests.e2e.notes import Notes
from tests.e2e.runs import Run, merged, quickstart

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

RATE = 5.0e-4


@pytest.fixture(scope="module")
def flux(cluster: Cluster) -> Flux:
    """Flux, as who applies the run."""
    return Flux(cluster.kubeconfig)


@pytest.fixture(scope="module")
def argo_cd(cluster: Cluster) -> ArgoCD:
    """Argo CD, which holds the same run: server-side as Flux does, for with kubectl's own way the two would quarrel."""
    return ArgoCD(cluster.kubeconfig, server_side=True)


@pytest.fixture(scope="module")
def run(cluster: Cluster, finished: Run, flux: Flux, argo_cd: ArgoCD) -> Iterator[Run]:
    """A second run of the quickstart's spec."""
    run = Run(cluster, quickstart("gitops"))
    flux.apply(run.manifest)
    argo_cd.apply(run.manifest)
    yield run
    run.delete()


def test_a_second_run_reuses_what_the_first_has_made(run: Run) -> None:
    run.completes(within=900)
    assert ran(run) == {"preflight"}


def test_applied_again_nothing_changes_and_nothing_starts(run: Run, flux: Flux, argo_cd: ArgoCD) -> None:
    before, jobs = run.seen(), uids(run.children("jobs"))
    assert flux.applied(run.manifest) == ["unchanged"]
    assert flux.drift(run.manifest) == argo_cd.drift(run.manifest) == [{}]
    assert run.seen()["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    assert uids(run.children("jobs")) == jobs


def test_another_learning_rate_trains_evaluates_and_reports_anew_and_is_no_drift(
    run: Run, flux: Flux, argo_cd: ArgoCD, notes: Notes
) -> None:
    edited = merged(run.manifest, {"spec": {"training": {"learningRate": RATE}}})
    flux.apply(edited)
    with watched(flux, edited) as by_flux, watched(argo_cd, edited) as by_argo_cd:
        run.reaches("the edit is seen", lambda: not run.is_("Complete"))
        run.completes()
        last = run.seen()["metadata"]["resourceVersion"]
        for looks in (by_flux, by_argo_cd):
            seen = eventually(
                lambda looks=looks: found if last in (found := looks.by_version()) else {}, 300, "the last change is looked at"
            )
            assert not any(seen.values()), seen
    assert ran(run) == {"preflight", "train", "evaluate-tuned", "report"}
    reasons = {name: stage["reason"] for name, stage in run.stages().items() if stage["state"] == "Succeeded"}
    assert reasons["train"] == "spec.training.learningRate changed"
    notes.table("Another learning rate, applied by Flux", ("stage", "why it ran"), reasons.items())


def test_a_rerun_samples_anew_and_taking_it_back_reuses_everything(run: Run, flux: Flux) -> None:
    flux.apply(merged(run.manifest, {"spec": {"rerun": "2"}}))
    run.works_on("elicit")
    assert "spec.rerun" in run.stage("elicit")["reason"]
    flux.apply(run.manifest)
    run.reaches("elicit is reused again", lambda: run.stage("elicit")["state"] == "Reused")
    run.completes()
    assert ran(run) == {"preflight"}


def ran(run: Run) -> set[str]:
    """The stages that ran for this generation of the run."""
    return {name for name, stage in run.stages().items() if stage["state"] == "Succeeded"}
