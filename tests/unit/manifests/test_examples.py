"""The examples are planned: what they share is computed once, and the manifests of the 70B run are pinned letter by letter.

After a change of manifests that is meant: `make snapshots`, then read the diff.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from rehearsal.api.explain import problems
from rehearsal.api.platform import Platform
from rehearsal.api.run import RunSpec
from rehearsal.manifests.jobs import Order, build_job
from rehearsal.manifests.pod import TASK_ANNOTATION
from rehearsal.pipeline.fingerprint import fingerprints
from rehearsal.pipeline.sources import external_inputs
from rehearsal.pipeline.stage import Kind, Stage
from rehearsal.pipeline.stages import stages_of
from rehearsal.worker.training.disk import check_scratch
from rehearsal.worker.training.shape import ModelShape

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples"
SNAPSHOT = ROOT / "tests/data/snapshots/llama3-70b-medical.yaml"
PLATFORM = Platform.model_validate(yaml.safe_load((EXAMPLES / "llama3-70b-medical/platform.yaml").read_text()))


def spec_of(path: Path) -> RunSpec:
    spec, refused = problems(yaml.safe_load(path.read_text())["spec"])
    assert not refused
    assert spec
    return spec


def known(example: str) -> dict[str, str]:
    spec = spec_of(EXAMPLES / example)
    return fingerprints(stages_of(spec), dict.fromkeys(external_inputs(spec), "0" * 64))


def shared(*examples: str) -> set[str]:
    """The stages that are the same in all of these runs, by name."""
    first, *others = [known(example) for example in examples]
    return {name for name, fingerprint in first.items() if all(other.get(name) == fingerprint for other in others)}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*/*.yaml")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_example_is_accepted(path: Path) -> None:
    if path.stem != "platform":
        assert spec_of(path)


def test_the_first_table_fetches_the_model_and_measures_it_once() -> None:
    table = [f"table1/{path.name}" for path in (EXAMPLES / "table1").glob("*.yaml")]
    assert len(table) == 10
    assert shared(*table) == {"fetch-base", "fetch-suite", "evaluate-base"}


def test_the_full_method_of_both_tables_is_the_70b_run() -> None:
    everything = set(known("llama3-70b-medical/run.yaml"))
    assert shared("llama3-70b-medical/run.yaml", "table1/reconstructed.yaml", "table2/three-models.yaml") == everything


def test_the_second_table_elicits_once_and_asks_no_judge_about_a_single_answer() -> None:
    table = ("table2/one-response.yaml", "table2/one-model.yaml", "table2/three-models.yaml")
    assert shared(*table) == {"fetch-base", "fetch-suite", "elicit", "filter", "evaluate-base"}
    assert not [name for name in known("table2/one-response.yaml") if name.startswith("judge")]
    assert shared("table2/one-model.yaml", "table2/three-models.yaml") - shared(*table) == {"respond-base"}


def jobs() -> list[dict[str, Any]]:
    spec = spec_of(EXAMPLES / "llama3-70b-medical/run.yaml")
    stages = (Stage("preflight", Kind.PREFLIGHT), *stages_of(spec))
    inputs = dict.fromkeys(external_inputs(spec), "0" * 64)
    prints = fingerprints(stages_of(spec), inputs)
    orders = [
        Order("research", "llama3-70b-medical", "uid", spec, stage, prints.get(stage.name, "key"), 0, 1, inputs, prints)
        for stage in stages
    ]
    return [json.loads(json.dumps(build_job(order, PLATFORM))) for order in orders]


def container(job: dict[str, Any], name: str) -> dict[str, Any]:
    pod = job["spec"]["template"]["spec"]
    return next(c for c in pod["initContainers"] + pod["containers"] if c["name"] == name)


def job_of(stage: str) -> dict[str, Any]:
    return next(job for job in jobs() if job["metadata"]["labels"]["rehearsal.dev/stage"] == stage)


def test_an_engine_pod_of_the_70b_run_holds_four_gpus_and_two_work_side_by_side() -> None:
    job = job_of("respond-qwen")
    assert job["spec"]["parallelism"] == 2
    assert container(job, "engine")["resources"]["limits"]["nvidia.com/gpu"] == "4"
    assert "--tensor-parallel-size 4" in " ".join(container(job, "engine")["command"])
    assert "nvidia.com/gpu" not in container(job, "main")["resources"]["limits"]


def test_the_trainer_of_the_70b_run_holds_eight_gpus_in_one_pod() -> None:
    job = job_of("train")
    assert job["spec"]["parallelism"] == 1
    assert container(job, "main")["resources"]["limits"]["nvidia.com/gpu"] == "8"


def test_the_trainer_of_the_70b_run_has_room_for_a_checkpoint_and_the_tuned_model() -> None:
    model = ModelShape(parameters=70_553_706_496, hidden=8192, layers=80, vocabulary=128_256)
    volumes = {volume["name"]: volume for volume in job_of("train")["spec"]["template"]["spec"]["volumes"]}
    training = spec_of(EXAMPLES / "llama3-70b-medical/run.yaml").training
    check_scratch(model, training, volumes["scratch"]["emptyDir"]["sizeLimit"])


def test_a_hubs_model_passes_through_a_scratch_of_its_size() -> None:
    for stage in ("fetch-base", "fetch-suite"):
        volumes = {volume["name"]: volume for volume in job_of(stage)["spec"]["template"]["spec"]["volumes"]}
        assert volumes["scratch"]["emptyDir"]["sizeLimit"] == PLATFORM.model_scratch


def test_only_the_fetching_pods_hold_the_hubs_token_and_only_the_endpoints_pods_its_key() -> None:
    holders: dict[str, set[str]] = {}
    for job in jobs():
        pod = job["spec"]["template"]["spec"]
        for one in pod["initContainers"] + pod["containers"]:
            for env in one["env"]:
                if "valueFrom" in env:
                    holders.setdefault(env["name"], set()).add(job["metadata"]["labels"]["rehearsal.dev/stage"])
    assert holders == {
        "HF_TOKEN": {"fetch-base", "fetch-model-qwen", "fetch-suite"},
        "OPENAI_API_KEY": {"respond-gpt4", "judge-gpt4"},
    }


def test_an_endpoints_member_takes_no_gpu() -> None:
    for stage in ("respond-gpt4", "judge-gpt4"):
        job = job_of(stage)
        assert "nvidia.com/gpu" not in json.dumps(job)
        assert [c["name"] for c in job["spec"]["template"]["spec"]["containers"]] == ["main"]


def test_pods_with_gpus_tolerate_the_platforms_taint_and_others_do_not() -> None:
    for job in jobs():
        tolerated = bool(job["spec"]["template"]["spec"]["tolerations"])
        assert tolerated == (job["metadata"]["annotations"]["rehearsal.dev/devices"] != "0")


def test_every_manifest_of_the_70b_run_is_as_it_was() -> None:
    written = jobs()
    for job in written:
        job["spec"]["template"]["metadata"]["annotations"][TASK_ANNOTATION] = "…"
        job["metadata"]["labels"]["app.kubernetes.io/version"] = "…"
        job["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/version"] = "…"
    text = yaml.safe_dump_all(written, sort_keys=False, allow_unicode=True, width=132)
    if os.environ.get("UPDATE_SNAPSHOTS"):
        SNAPSHOT.parent.mkdir(parents=True, exist_ok=True)
        SNAPSHOT.write_text(text)
    assert text == SNAPSHOT.read_text(), "the manifests changed: if that is meant, run `make snapshots` and read the diff"
