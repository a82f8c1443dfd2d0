"""`kubectl apply` of the quickstart's run on real nodes, real images and real engines, to Complete; and the laptop's run beside it."""

import hashlib
from pathlib import Path

import pytest

from tests.e2e import bucket
from tests.e2e.bucket import Bucket
from tests.e2e.cluster import Cluster, KubectlRefused, Manifest, uids
from tests.e2e.install import Installed
from tests.e2e.laptop import Laptop, differs, rows, seals
from tests.e2e.notes import Notes
from tests.e2e.runs import NAMESPACE, Run

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3600)]

PURE = ("filter", "select", "mix", "report")
"""Stages whose sealed bytes follow from what they read."""
WHY = {
    "elicit": "sampled: what the engine computes depends in its last bits on the requests that share a batch, whatever the seed",
    "respond": "sampled, as elicit",
    "judge": "sampled, as elicit",
    "train": "computed: two ranks in two pods, and two ranks on one machine",
    "evaluate": "greedy",
}


def test_the_operator_can_neither_see_nor_read_the_store_s_credentials(cluster: Cluster, installed: Installed) -> None:
    pod = installed.operator()
    sources = [each for volume in pod["spec"]["volumes"] for each in volume.keys() - {"name"}]
    assert "secret" not in sources
    for container in pod["spec"]["containers"]:
        assert "envFrom" not in container
        assert not [each for each in container.get("env", []) if "valueFrom" in each]
    account = f"system:serviceaccount:{installed.namespace}:{pod['spec']['serviceAccountName']}"
    rights = cluster.kubectl("auth", "can-i", "--list", f"--namespace={NAMESPACE}", f"--as={account}")
    assert "jobs.batch" in rights
    assert "secrets" not in rights
    assert "*.*" not in rights


def test_the_namespace_takes_restricted_pods_only(cluster: Cluster, installed: Installed) -> None:
    container = {"name": "shell", "image": "shell", "securityContext": {"privileged": True}}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "shell", "namespace": NAMESPACE},
        "spec": {"containers": [container]},
    }
    with pytest.raises(KubectlRefused, match="violates PodSecurity"):
        cluster.apply(pod)


def test_the_run_is_complete_after_kubectl_apply(finished: Run, installed: Installed, notes: Notes) -> None:
    assert finished.is_("Complete")
    assert {stage["state"] for stage in finished.stages().values()} <= {"Succeeded", "Reused"}
    notes.text("Most memory the operator has held", installed.memory())


def test_two_pods_trained_and_engines_were_sidecars(finished: Run) -> None:
    jobs = {job["metadata"]["labels"]["rehearsal.dev/stage"]: job for job in finished.children("jobs")}
    assert (jobs["train"]["spec"]["completions"], jobs["train"]["status"]["succeeded"]) == (2, 2)
    assert len(finished.children("services")) == 1
    engines = {stage for stage, job in jobs.items() if "engine" in _containers(job)}
    assert engines == {"elicit", "respond-base", "respond-peer", "judge-base", "judge-peer", "evaluate-base", "evaluate-tuned"}


def test_only_workers_hold_the_credentials_and_engines_do_not(finished: Run) -> None:
    for job in finished.children("jobs"):
        volumes = job["spec"]["template"]["spec"]["volumes"]
        assert {kind for volume in volumes for kind in volume.keys() - {"name"}} == {"downwardAPI", "emptyDir"}
        for name, container in _containers(job).items():
            assert "envFrom" not in container, (job["metadata"]["name"], name)
            secrets = {each["valueFrom"]["secretKeyRef"]["name"] for each in container["env"] if "valueFrom" in each}
            assert secrets == (set() if name == "engine" else {bucket.SECRET}), (job["metadata"]["name"], name)


def test_what_the_status_calls_sealed_lies_in_the_bucket(finished: Run, artifacts: Path) -> None:
    for name, stage in finished.stages().items():
        if name != "preflight":
            seal = (artifacts / stage["output"] / "manifest.json").read_bytes()
            assert hashlib.sha256(seal).hexdigest() == stage["sealed"]["manifestDigest"], name


def test_a_laptop_seals_the_same_bytes_from_the_same_samples(finished: Run, artifacts: Path, tmp_path: Path) -> None:
    """Every stage has the laptop's fingerprint: else it would be missing, and the laptop would compute it."""
    outputs = outputs_of(finished)
    there = {outputs[stage]: seals(artifacts / NAMESPACE)[outputs[stage]] for stage in outputs}
    laptop = Laptop(tmp_path / "laptop", artifacts)
    laptop.forget(*(outputs[stage] for stage in PURE))
    laptop.run()
    assert {output: seal for output, seal in seals(laptop.artifacts).items() if output in there} == there
    assert seals(laptop.artifacts).keys() == seals(artifacts / NAMESPACE).keys()


def test_a_laptop_s_own_engines_are_held_against_the_cluster_s(
    finished: Run, artifacts: Path, tmp_path: Path, notes: Notes
) -> None:
    """Greedy answers of the base model are equal. Of the rest it is noted what is equal: it may differ between kinds of CPU."""
    outputs, there = outputs_of(finished), artifacts / NAMESPACE
    laptop = Laptop(tmp_path / "laptop", artifacts)
    again = [*PURE, "train", "evaluate-base", "evaluate-tuned"]
    laptop.forget(*(outputs[stage] for stage in again))
    laptop.run()
    ours, theirs = seals(laptop.artifacts), seals(there)
    assert ours.keys() == theirs.keys()
    base = outputs["evaluate-base"]
    assert rows(laptop.artifacts, base) == rows(there, base)
    compared = []
    for stage, output in outputs.items():
        kind = output.partition("/")[0]
        if stage not in again:
            said = "not compared"
        else:
            said = "equal" if ours[output] == theirs[output] else f"differ: {differs(ours[output], theirs[output])}"
        compared.append((stage, output.partition("/")[2][:12], "equal", said, WHY.get(kind, "computed from what it reads")))
    notes.table("The laptop's run beside the cluster's", ("stage", "fingerprint", "fingerprints", "sealed bytes", "why"), compared)


def test_applied_again_nothing_changes_and_nothing_starts(cluster: Cluster, finished: Run) -> None:
    before, jobs = finished.seen(), uids(finished.children("jobs"))
    finished.apply()
    after = finished.seen()
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    assert after["status"] == before["status"]
    assert uids(finished.children("jobs")) == jobs


def test_kubectl_tells_it_well(cluster: Cluster, finished: Run, notes: Notes) -> None:
    head, line = finished.glance().splitlines()
    assert head.split() == ["NAME", "STAGE", "PROGRESS", "ETA", "GPU-H", "READY", "AGE", "MESSAGE"]
    assert line.split()[:3] == [finished.name, "Complete", "100"]
    described = cluster.kubectl("describe", "recon", finished.name, f"--namespace={NAMESPACE}")
    events = described.partition("\nEvents:\n")[2]
    assert "Complete" in events
    explained = cluster.kubectl("explain", "reconstructionrun.spec.rehearsal.reconstructed.judging")
    assert all(field in explained for field in ("mode", "rubric", "pruning", "minJudges"))
    notes.text("`kubectl get recon`", f"{head}\n{line}")
    notes.text("`kubectl describe recon`: its events", events)
    notes.text("`kubectl explain reconstructionrun.spec.rehearsal.reconstructed.judging`", explained)


@pytest.fixture(scope="module")
def artifacts(finished: Run, store: Bucket, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the namespace's runs have stored, under its keys."""
    folder = tmp_path_factory.mktemp("bucket")
    store.download(f"{NAMESPACE}/", folder)
    return folder


def outputs_of(run: Run) -> dict[str, str]:
    """Stage -> `kind/fingerprint` of what it sealed, in the order of the stage table."""
    return {name: stage["output"].removeprefix(f"{NAMESPACE}/") for name, stage in run.stages().items() if name != "preflight"}


def _containers(job: Manifest) -> dict[str, Manifest]:
    pod = job["spec"]["template"]["spec"]
    return {container["name"]: container for container in [*pod.get("initContainers", []), *pod["containers"]]}
